//! Proxies that may say whom they speak for. Without them the limits per address would hold for all guests behind one
//! together; with a header that anybody can write they would hold for nobody.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

/// Where a proxy writes whom it speaks for. Only one counts: a proxy that writes the one passes the other on as its
/// client has written it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 203.0.113.7, 10.0.0.2`
    #[default]
    #[serde(rename = "x-forwarded-for")]
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7;proto=https` (RFC 7239)
    #[serde(rename = "forwarded")]
    Forwarded,
}

impl ForwardedHeader {
    /// What a configuration may name.
    pub const NAMES: &'static [&'static str] = &["x-forwarded-for", "forwarded"];

    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The address in one element of the list, if there is one.
    fn address(self, element: &str) -> Option<IpAddr> {
        let node = match self {
            Self::XForwardedFor => element.trim(),
            Self::Forwarded => element.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
            })?,
        };
        // With a port or without one: 192.0.2.1:80, [2001:db8::1]:80, [2001:db8::1], 2001:db8::1.
        let host = match node.strip_prefix('[') {
            Some(rest) => rest.split(']').next()?,
            None if node.matches(':').count() == 1 => node.split(':').next()?,
            None => node,
        };
        host.parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }
}

/// An entry of `trusted_proxies` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address and no network; write \"127.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\"")]
pub struct BadProxy(String);

/// The proxies that are trusted.
#[derive(Debug, Default)]
pub struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    /// From the configuration.
    pub fn new(list: &[String], header: ForwardedHeader) -> Result<Self, BadProxy> {
        let net = |text: &String| {
            let alone = text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
            alone.or_else(|_| text.parse()).map_err(|_| BadProxy(text.escape_debug().to_string()))
        };
        Ok(Self { trusted: list.iter().map(net).collect::<Result<_, _>>()?, header })
    }

    /// Whether this address is that of a proxy.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|net| net.contains(&ip))
    }

    /// Whose request it is that came from `from` with these headers: the last address in the list that no proxy of ours
    /// has. What stands before it anybody may have written.
    pub fn client(&self, from: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = from.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines = headers.get_all(self.header.name()).iter().rev();
        let elements = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for element in elements {
            // Somebody who is hidden (`unknown`, `_hidden`) counts as the proxy that hides them.
            let Some(before) = self.header.address(element) else { break };
            client = before;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        Proxies::new(&["127.0.0.1".to_owned(), "10.0.0.0/8".to_owned(), "fd00::/8".to_owned()], header).unwrap()
    }

    fn client(header: ForwardedHeader, from: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), line.parse().unwrap());
        }
        proxies(header).client(from.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxys_counts() {
        let table: [(&str, &[&str], &str); 16] = [
            ("127.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", &["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", &["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", &["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            ("127.0.0.1", &["203.0.113.7,10.1.2.3 , fd00::1"], "203.0.113.7"),
            ("127.0.0.1", &["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            ("127.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            ("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("127.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("::ffff:127.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            // Nobody said anything that can be read.
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &[""], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, unknown, 10.1.2.3"], "10.1.2.3"),
            // Whoever is no proxy speaks for nobody else.
            ("203.0.113.7", &["198.51.100.1"], "203.0.113.7"),
            ("::1", &["198.51.100.1"], "::1"),
        ];
        for (from, lines, expected) in table {
            assert_eq!(client(ForwardedHeader::XForwardedFor, from, lines), expected, "{from} {lines:?}");
        }
    }

    #[test]
    fn the_standard_header_is_read_as_well() {
        let table = [
            ("for=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=198.51.100.1, proto=https ; FOR=203.0.113.7", "203.0.113.7"),
            ("for=203.0.113.7, for=10.0.0.2", "203.0.113.7"),
            ("for=\"_hidden\"", "127.0.0.1"),
            ("for=unknown", "127.0.0.1"),
            ("proto=https", "127.0.0.1"),
        ];
        for (line, expected) in table {
            assert_eq!(client(ForwardedHeader::Forwarded, "127.0.0.1", &[line]), expected, "{line}");
        }
    }

    #[test]
    fn only_the_header_that_was_chosen_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::FORWARDED, "for=198.51.100.1".parse().unwrap());
        headers.insert("x-forwarded-for", "203.0.113.7".parse().unwrap());
        let of = |header| proxies(header).client("127.0.0.1".parse().unwrap(), &headers).to_string();
        assert_eq!(of(ForwardedHeader::XForwardedFor), "203.0.113.7");
        assert_eq!(of(ForwardedHeader::Forwarded), "198.51.100.1");
    }

    #[test]
    fn entries_are_addresses_or_networks() {
        for bad in ["", "proxy.example", "10.0.0.0/33", "10.0.0", "127.0.0.1:80"] {
            let error = Proxies::new(&[bad.to_owned()], ForwardedHeader::default()).unwrap_err();
            assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
        }
    }
}
