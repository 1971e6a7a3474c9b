//! Which web pages may talk to this server, by the `Origin` header (RFC 6454 section 7). The
//! doors ask before anything else.

use rallypoint_protocol::ErrorCode;

/// The list `origins` of the configuration, read.
#[derive(Clone, Debug, Default)]
pub struct OriginRules {
    rules: Vec<Rule>,
    any: bool,
    allow_no_origin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// This origin.
    Exact(String),
    /// Every subdomain: scheme with `://`, and the rest from the dot on, port included.
    Below { scheme: String, suffix: String },
    /// This scheme and host with any port or none (`--dev`).
    AnyPort(&'static str),
    /// The text `null`: sandboxed frames, local files.
    Null,
}

/// Where `--dev` lets pages come from.
const DEVELOPMENT: [&str; 6] =
    ["http://localhost", "http://127.0.0.1", "http://[::1]", "https://localhost", "https://127.0.0.1", "https://[::1]"];

/// A rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin rule: write scheme, host and port as the browser does (\"https://app.example\", \
     \"http://localhost:8080\"), \"https://*.app.example\" for all subdomains, \"null\", or \"*\""
)]
pub struct BadOriginRule(pub String);

impl OriginRules {
    /// Reads the rules; `dev` adds localhost, 127.0.0.1 and `[::1]` with any port.
    pub fn new(rules: &[String], dev: bool, allow_no_origin: bool) -> Result<Self, BadOriginRule> {
        let mut all = Self { allow_no_origin, ..Self::default() };
        for text in rules {
            match text.as_str() {
                "*" => all.any = true,
                "null" => all.rules.push(Rule::Null),
                _ => all.rules.push(parse(text).ok_or_else(|| BadOriginRule(text.clone()))?),
            }
        }
        if dev {
            all.rules.extend(DEVELOPMENT.map(Rule::AnyPort));
        }
        Ok(all)
    }

    /// Whether a request with this `Origin` header, or none, may come in;
    /// [`ErrorCode::OriginRefused`] otherwise.
    pub fn check(&self, origin: Option<&str>) -> Result<(), ErrorCode> {
        let good = match origin {
            None => self.allow_no_origin,
            // `*` means every web page; a page that hides where it comes from is named apart.
            Some(origin) => (self.any && origin != "null") || self.is_listed(origin),
        };
        if good { Ok(()) } else { Err(ErrorCode::OriginRefused) }
    }

    /// Whether a rule other than `*` names this origin.
    pub fn is_listed(&self, origin: &str) -> bool {
        let origin = normal(origin);
        self.rules.iter().any(|rule| match rule {
            Rule::Exact(exact) => *exact == origin,
            Rule::Below { scheme, suffix } => origin
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(is_host),
            Rule::AnyPort(base) => origin
                .strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)),
            Rule::Null => origin == "null",
        })
    }

    /// Whether a cookie that comes with this origin may be a credential, and whether the answer
    /// carries `Access-Control-Allow-Credentials`. Never with `*` in the list, since then any page
    /// could act in the user's name, and never for `null`, which every sandboxed frame is.
    pub fn allows_cookies(&self, origin: &str) -> bool {
        self.cookies_possible() && origin != "null" && self.is_listed(origin)
    }

    /// Whether any request at all may use a cookie: not with `*` in the list.
    pub fn cookies_possible(&self) -> bool {
        !self.any
    }
}

/// Lower case and without the default port, as browsers write it.
fn normal(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        if origin.starts_with(scheme) && origin.ends_with(port) {
            origin.truncate(origin.len() - port.len());
        }
    }
    origin
}

fn parse(text: &str) -> Option<Rule> {
    let origin = normal(text);
    let (scheme, rest) = origin.split_once("://")?;
    let mut letters = scheme.bytes();
    if !letters.next()?.is_ascii_lowercase() || !letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return None;
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (address, after) = v6.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (None, after)
        }
        None => {
            let end = rest.find(':').unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    match host.map(|host| host.strip_prefix("*.").ok_or(host)) {
        Some(Ok(domain)) if is_host(domain) => {
            Some(Rule::Below { scheme: format!("{scheme}://"), suffix: rest[1..].to_owned() })
        }
        Some(Err(host)) if is_host(host) => Some(Rule::Exact(origin)),
        None => Some(Rule::Exact(origin)),
        _ => None,
    }
}

/// One or more labels. Without the check of a wildcard's part `https://evil.example/.app.example`
/// would pass for a subdomain.
fn is_host(text: &str) -> bool {
    text.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str], dev: bool) -> OriginRules {
        let list: Vec<_> = list.iter().map(|&rule| rule.to_owned()).collect();
        OriginRules::new(&list, dev, true).unwrap()
    }

    #[test]
    fn rules_match_whole_origins() {
        let table = [
            ("https://app.example", "https://app.example", true),
            ("https://app.example", "HTTPS://App.Example", true),
            ("https://app.example", "https://app.example:443", true),
            ("https://app.example:443", "https://app.example", true),
            ("https://app.example", "http://app.example", false),
            ("https://app.example", "https://app.example:8443", false),
            ("https://app.example", "https://app.example.evil.example", false),
            ("https://app.example", "https://evil-app.example", false),
            ("https://app.example", "https://sub.app.example", false),
            ("https://app.example", "null", false),
            ("http://localhost:8080", "http://localhost:8080", true),
            ("http://localhost:8080", "http://localhost:8081", false),
            ("http://[::1]:80", "http://[::1]", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("https://*.app.example", "https://a.app.example", true),
            ("https://*.app.example", "https://a.b.app.example", true),
            ("https://*.app.example", "https://app.example", false),
            ("https://*.app.example", "https://.app.example", false),
            ("https://*.app.example", "https://evilapp.example", false),
            ("https://*.app.example", "https://evil.example/.app.example", false),
            ("https://*.app.example", "https://evil.example:1.app.example", false),
            ("https://*.app.example", "https://u@a.app.example", false),
            ("https://*.app.example", "http://a.app.example", false),
            ("https://*.app.example", "https://a.app.example:8443", false),
            ("https://*.app.example:8443", "https://a.app.example:8443", true),
            ("null", "null", true),
            ("*", "https://anything.example", true),
            ("*", "null", false),
        ];
        for (rule, origin, good) in table {
            assert_eq!(rules(&[rule], false).check(Some(origin)).is_ok(), good, "{rule} {origin}");
        }
        assert_eq!(rules(&[], false).check(Some("https://a.example")), Err(ErrorCode::OriginRefused));
    }

    #[test]
    fn development_adds_this_machine() {
        for origin in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:1", "http://[::1]:3000"] {
            assert!(rules(&[], true).check(Some(origin)).is_ok(), "{origin}");
            assert!(rules(&[], false).check(Some(origin)).is_err(), "{origin}");
        }
        for origin in ["ws://localhost", "http://localhost.evil.example", "http://localhost:x", "http://127.0.0.10"] {
            assert!(rules(&[], true).check(Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn requests_without_an_origin_are_a_setting() {
        assert_eq!(OriginRules::new(&[], false, true).unwrap().check(None), Ok(()));
        assert_eq!(OriginRules::new(&[], true, false).unwrap().check(None), Err(ErrorCode::OriginRefused));
    }

    #[test]
    fn a_star_lets_in_and_takes_cookies_away() {
        let open = rules(&["*", "https://app.example"], false);
        assert!(open.check(Some("https://evil.example")).is_ok());
        assert!(open.is_listed("https://app.example") && !open.is_listed("https://evil.example"));
        assert!(!open.allows_cookies("https://app.example"));
        let closed = rules(&["https://app.example", "null"], false);
        assert!(closed.allows_cookies("https://app.example"));
        assert!(!closed.allows_cookies("https://evil.example"));
        assert!(closed.is_listed("null") && !closed.allows_cookies("null"));
    }

    #[test]
    fn malformed_rules_are_named() {
        for bad in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://a.*.example",
            "https://*",
            "https://*.",
            "https://*app.example",
            "https://app.example:",
            "https://app.example:x",
            "https://[::1",
            "https://[:::1]",
            "https://a b",
            "https://user@app.example",
            "https://app..example",
            "://app.example",
            "http*://app.example",
        ] {
            let error = OriginRules::new(&[bad.to_owned()], false, true).unwrap_err();
            assert_eq!(error, BadOriginRule(bad.to_owned()));
        }
    }
}
