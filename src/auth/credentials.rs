//! The one credential of a request, found among the places where it may be. Every door calls
//! [`gather`] after the Origin check and before the verifier.

use rallypoint_protocol::ErrorCode;

use super::OriginRules;

/// What kind of request it is; cookies are treated differently at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A WebSocket handshake.
    WebSocket,
    /// GET and HEAD.
    Get,
    /// A feed: GET that a ticket opens, too.
    Feed,
    /// POST and DELETE.
    Write,
}

/// Everything in a request that may be or concern a credential. Header values are as received, one
/// for each line: a second line that nobody looks at could hold another token.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// `Authorization`.
    pub authorization: Vec<&'a str>,
    /// `Sec-WebSocket-Protocol`, which may hold `bearer.<jwt>`; read at a WebSocket only.
    pub subprotocols: Vec<&'a str>,
    /// `Cookie`.
    pub cookies: Vec<&'a str>,
    /// The values of `?token=`, decoded.
    pub query: Vec<&'a str>,
    /// The values of `?ticket=`, decoded.
    pub tickets: Vec<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// Where the request knocks.
    pub door: Door,
}

impl Presented<'_> {
    /// A request that presents nothing.
    pub fn nothing(door: Door) -> Self {
        Self {
            authorization: Vec::new(),
            subprotocols: Vec::new(),
            cookies: Vec::new(),
            query: Vec::new(),
            tickets: Vec::new(),
            origin: None,
            sec_fetch_site: None,
            door,
        }
    }
}

/// The one thing that says who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A JWT.
    Token(&'a str),
    /// What a token was exchanged for.
    Ticket(&'a str),
}

/// Which places count.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRules<'a> {
    /// The name of the cookie.
    pub cookie: &'a str,
    /// Whether `?token=` counts: `auth.query_token`, or `--dev`.
    pub query: bool,
    /// Whose pages may use the cookie.
    pub origins: &'a OriginRules,
}

/// The credential of the request, if it has one.
///
/// Fails with [`ErrorCode::TwoCredentials`] when two places hold different ones,
/// [`ErrorCode::TokenInvalid`] when `Authorization` is not `Bearer` and one token, and
/// [`ErrorCode::CredentialNotAccepted`] for `?token=` while that is off, for `?ticket=` where none
/// counts, or when the only credential is a cookie that may not be used.
pub fn gather<'a>(presented: &Presented<'a>, rules: &CredentialRules<'_>) -> Result<Option<Credential<'a>>, ErrorCode> {
    let mut found = None;
    for header in &presented.authorization {
        keep(&mut found, Credential::Token(bearer(header)?))?;
    }
    if presented.door == Door::WebSocket {
        for offer in presented.subprotocols.iter().flat_map(|line| line.split(',')) {
            if let Some(token) = offer.trim_matches([' ', '\t']).strip_prefix("bearer.") {
                keep(&mut found, Credential::Token(one_word(token)?))?;
            }
        }
    }
    for token in &presented.query {
        if !rules.query {
            return Err(ErrorCode::CredentialNotAccepted);
        }
        keep(&mut found, Credential::Token(one_word(token)?))?;
    }
    for ticket in &presented.tickets {
        if !matches!(presented.door, Door::WebSocket | Door::Feed) {
            return Err(ErrorCode::CredentialNotAccepted);
        }
        keep(&mut found, Credential::Ticket(ticket))?;
    }
    // A browser adds cookies without being asked, so one that may not be used is overlooked beside
    // another credential; alone it is refused aloud, or its owner would seek the fault elsewhere.
    let usable = cookie_counts(presented, rules);
    for token in presented.cookies.iter().flat_map(|line| cookies(line, rules.cookie)) {
        if usable {
            keep(&mut found, Credential::Token(token))?;
        } else if found.is_none() {
            return Err(ErrorCode::CredentialNotAccepted);
        }
    }
    Ok(found)
}

fn keep<'a>(found: &mut Option<Credential<'a>>, credential: Credential<'a>) -> Result<(), ErrorCode> {
    match found {
        Some(other) if *other != credential => Err(ErrorCode::TwoCredentials),
        _ => {
            *found = Some(credential);
            Ok(())
        }
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 section 2.1).
fn bearer(header: &str) -> Result<&str, ErrorCode> {
    let (scheme, rest) = header.trim_matches([' ', '\t']).split_once(' ').ok_or(ErrorCode::TokenInvalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ErrorCode::TokenInvalid);
    }
    one_word(rest.trim_start_matches(' '))
}

fn one_word(token: &str) -> Result<&str, ErrorCode> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    // Without a way out of the loop many bytes are looked at in one go.
    if !token.is_empty() && token.bytes().fold(true, |all, b| all & good(b)) {
        Ok(token)
    } else {
        Err(ErrorCode::TokenInvalid)
    }
}

/// The values of the cookies with this name (RFC 6265 section 4.2). Several are possible: another
/// path or a parent domain may have set one.
fn cookies<'a>(header: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    header
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| key.trim() == name)
        .map(|(_, value)| {
            let value = value.trim();
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
        })
        // What a logout leaves behind.
        .filter(|value| !value.is_empty())
}

/// Cookies come along with requests that other people's pages make, so they count only where the
/// browser says that the page is one of ours.
fn cookie_counts(presented: &Presented<'_>, rules: &CredentialRules<'_>) -> bool {
    match presented.origin {
        Some(origin) => rules.origins.allows_cookies(origin),
        // Browsers send no Origin with a same-origin GET; this header cannot be forged by a page.
        None => {
            matches!(presented.door, Door::Get | Door::Feed)
                && rules.origins.cookies_possible()
                && presented.sec_fetch_site == Some("same-origin")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Option<&str> = Some("https://app.example");
    const EVIL: Option<&str> = Some("https://evil.example");
    const COOKIE: &str = "theme=dark; rallypoint_token=t1; x=y";

    fn outcome_with(origins: &[&str], query: bool, presented: Presented<'_>) -> Result<Option<String>, ErrorCode> {
        let origins: Vec<_> = origins.iter().map(|&rule| rule.to_owned()).collect();
        let origins = OriginRules::new(&origins, false, true).unwrap();
        let rules = CredentialRules { cookie: "rallypoint_token", query, origins: &origins };
        gather(&presented, &rules).map(|found| {
            found.map(|found| match found {
                Credential::Token(token) => token.to_owned(),
                Credential::Ticket(ticket) => format!("ticket {ticket}"),
            })
        })
    }

    fn outcome(presented: Presented<'_>) -> Result<Option<String>, ErrorCode> {
        outcome_with(&["https://app.example"], false, presented)
    }

    fn token(text: &str) -> Result<Option<String>, ErrorCode> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn bearer_tokens_are_read_strictly() {
        let table = [
            ("Bearer t1", token("t1")),
            ("bearer  t1 ", token("t1")),
            ("BEARER a.b-c_d", token("a.b-c_d")),
            ("Bearer", Err(ErrorCode::TokenInvalid)),
            ("Bearer ", Err(ErrorCode::TokenInvalid)),
            ("Bearer a b", Err(ErrorCode::TokenInvalid)),
            ("Bearer a,b", Err(ErrorCode::TokenInvalid)),
            ("Bearert1", Err(ErrorCode::TokenInvalid)),
            ("Basic dTpw", Err(ErrorCode::TokenInvalid)),
            ("", Err(ErrorCode::TokenInvalid)),
        ];
        for (header, expected) in table {
            let presented = Presented { authorization: vec![header], ..Presented::nothing(Door::Get) };
            assert_eq!(outcome(presented), expected, "{header}");
        }
    }

    #[test]
    fn subprotocols_count_at_the_websocket_only() {
        let offer = |list: &'static str, door| {
            let subprotocols = list.split('|').collect();
            Presented { subprotocols, ..Presented::nothing(door) }
        };
        let table = [
            ("rallypoint.v1.json, bearer.t1", Door::WebSocket, token("t1")),
            ("bearer.t1,rallypoint.v1.json", Door::WebSocket, token("t1")),
            ("rallypoint.v1.json", Door::WebSocket, Ok(None)),
            ("bearer.t1, bearer.t2", Door::WebSocket, Err(ErrorCode::TwoCredentials)),
            ("rallypoint.v1.json|bearer.t1", Door::WebSocket, token("t1")),
            ("bearer.t1|bearer.t2", Door::WebSocket, Err(ErrorCode::TwoCredentials)),
            ("bearer.", Door::WebSocket, Err(ErrorCode::TokenInvalid)),
            ("bearer.t1", Door::Get, Ok(None)),
        ];
        for (list, door, expected) in table {
            assert_eq!(outcome(offer(list, door)), expected, "{list} {door:?}");
        }
    }

    #[test]
    fn cookies_need_one_of_our_pages() {
        let not_accepted = || Err(ErrorCode::CredentialNotAccepted);
        let table = [
            (Door::WebSocket, ORIGIN, None, token("t1")),
            (Door::WebSocket, None, Some("same-origin"), not_accepted()),
            (Door::WebSocket, EVIL, Some("same-origin"), not_accepted()),
            (Door::Write, ORIGIN, Some("cross-site"), token("t1")),
            (Door::Write, None, Some("same-origin"), not_accepted()),
            (Door::Get, ORIGIN, None, token("t1")),
            (Door::Get, EVIL, Some("same-origin"), not_accepted()),
            (Door::Get, None, Some("same-origin"), token("t1")),
            (Door::Get, None, Some("same-site"), not_accepted()),
            (Door::Get, None, Some("cross-site"), not_accepted()),
            (Door::Get, None, Some("none"), not_accepted()),
            (Door::Get, None, None, not_accepted()),
        ];
        for (door, origin, sec_fetch_site, expected) in table {
            let presented = Presented { cookies: vec![COOKIE], origin, sec_fetch_site, ..Presented::nothing(door) };
            assert_eq!(outcome(presented.clone()), expected, "{door:?} {origin:?} {sec_fetch_site:?}");
            // With `*` in the list no cookie counts at all.
            let open = outcome_with(&["*", "https://app.example"], false, presented);
            assert_eq!(open, not_accepted(), "{door:?} {origin:?} {sec_fetch_site:?}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let table = [
            ("rallypoint_token=\"t1\"", token("t1")),
            ("a=b;rallypoint_token=t1", token("t1")),
            ("xrallypoint_token=t1; rallypoint_token2=t2", Ok(None)),
            ("rallypoint_token=", Ok(None)),
            ("rallypoint_token", Ok(None)),
            ("rallypoint_token=t1; rallypoint_token=t1", token("t1")),
            ("rallypoint_token=t1; rallypoint_token=t2", Err(ErrorCode::TwoCredentials)),
            ("a=b|rallypoint_token=t1", token("t1")),
            ("rallypoint_token=t1|rallypoint_token=t2", Err(ErrorCode::TwoCredentials)),
        ];
        for (header, expected) in table {
            let presented = Presented {
                cookies: header.split('|').collect(),
                origin: ORIGIN,
                ..Presented::nothing(Door::WebSocket)
            };
            assert_eq!(outcome(presented), expected, "{header}");
        }
    }

    #[test]
    fn the_query_counts_where_it_is_on() {
        let presented = Presented { query: vec!["t1"], ..Presented::nothing(Door::Get) };
        assert_eq!(outcome_with(&[], true, presented.clone()), token("t1"));
        assert_eq!(outcome_with(&[], false, presented.clone()), Err(ErrorCode::CredentialNotAccepted));
        let beside = Presented { authorization: vec!["Bearer t1"], ..presented.clone() };
        assert_eq!(outcome_with(&[], false, beside), Err(ErrorCode::CredentialNotAccepted));
        let empty = Presented { query: vec![""], ..presented.clone() };
        assert_eq!(outcome_with(&[], true, empty), Err(ErrorCode::TokenInvalid));
        let twice = Presented { query: vec!["t1", "t2"], ..presented };
        assert_eq!(outcome_with(&[], true, twice), Err(ErrorCode::TwoCredentials));
    }

    #[test]
    fn tickets_open_feeds_and_websockets_only() {
        let table = [
            (Door::Feed, token("ticket t1")),
            (Door::WebSocket, token("ticket t1")),
            (Door::Get, Err(ErrorCode::CredentialNotAccepted)),
            (Door::Write, Err(ErrorCode::CredentialNotAccepted)),
        ];
        for (door, expected) in table {
            let presented = Presented { tickets: vec!["t1"], ..Presented::nothing(door) };
            assert_eq!(outcome(presented), expected, "{door:?}");
        }
        let two = || Err(ErrorCode::TwoCredentials);
        let base = || Presented { tickets: vec!["t1"], origin: ORIGIN, ..Presented::nothing(Door::Feed) };
        assert_eq!(outcome(Presented { authorization: vec!["Bearer t1"], ..base() }), two(), "a ticket is no token");
        assert_eq!(outcome(Presented { tickets: vec!["t1", "t2"], ..base() }), two());
        assert_eq!(outcome(Presented { tickets: vec!["t1", "t1"], ..base() }), token("ticket t1"));
        assert_eq!(outcome(Presented { cookies: vec![COOKIE], ..base() }), two());
        let unusable = Presented { cookies: vec![COOKIE], origin: EVIL, ..base() };
        assert_eq!(outcome(unusable), token("ticket t1"), "overlooked as beside a token");
    }

    #[test]
    fn two_different_credentials_are_refused() {
        let base = || Presented { authorization: vec!["Bearer t1"], ..Presented::nothing(Door::WebSocket) };
        let other = "rallypoint_token=t2";
        let two = || Err(ErrorCode::TwoCredentials);
        let table = [
            (Presented { authorization: vec!["Bearer t1", "bearer t1"], ..base() }, token("t1")),
            (Presented { authorization: vec!["Bearer t1", "Bearer t2"], ..base() }, two()),
            (Presented { authorization: vec!["Bearer t1", "Basic t1"], ..base() }, Err(ErrorCode::TokenInvalid)),
            (Presented { subprotocols: vec!["bearer.t1"], ..base() }, token("t1")),
            (Presented { subprotocols: vec!["bearer.t2"], ..base() }, two()),
            (Presented { query: vec!["t1"], ..base() }, token("t1")),
            (Presented { query: vec!["t2"], ..base() }, two()),
            (Presented { origin: ORIGIN, cookies: vec![COOKIE], ..base() }, token("t1")),
            (Presented { origin: ORIGIN, cookies: vec![other], ..base() }, two()),
            // A cookie that may not be used does not get in the way.
            (Presented { cookies: vec![other], ..base() }, token("t1")),
            (Presented::nothing(Door::WebSocket), Ok(None)),
        ];
        for (presented, expected) in table {
            let told = format!("{presented:?}");
            assert_eq!(outcome_with(&["https://app.example"], true, presented), expected, "{told}");
        }
    }
}
