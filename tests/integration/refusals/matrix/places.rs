//! Where credentials may stand and which pages may come: one request a row, to servers of several minds.

use rallypoint_protocol::Encoding;

use super::{Tally, door::Door, is_well};
use crate::support::{Ask, Node, ORIGIN, Pass, encoded, pass};

/// How the server that a row knocks at is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mind {
    /// Pages of [`ORIGIN`] and of the subdomains of `games.example`.
    Usual,
    /// The same, and `?token=` counts.
    Query,
    /// Every page.
    Star,
    /// Pages of [`ORIGIN`], and those that do not say where they come from.
    Null,
    /// No request without `Origin`.
    Strict,
    /// `--dev`.
    Dev,
}

use Mind::{Dev, Null, Query, Star, Strict, Usual};

const MINDS: [Mind; 6] = [Usual, Query, Star, Null, Strict, Dev];

impl Mind {
    async fn start(self) -> Node {
        let origins: &[&str] = match self {
            Star => &["*", ORIGIN],
            Null => &[ORIGIN, "null"],
            Usual | Query | Strict | Dev => &[ORIGIN, "https://*.games.example"],
        };
        Node::with(|config| {
            config.origins = origins.iter().map(|&origin| origin.to_owned()).collect();
            config.auth.query_token = self == Query;
            config.auth.allow_no_origin = self != Strict;
            config.dev = self == Dev;
            config.auth.dev = self == Dev;
        })
        .await
    }
}

const SOCKET: Door = Door::Handshake(Encoding::Json);
const BINARY: Door = Door::Handshake(Encoding::MsgPack);

/// A row: a request to a door, and the number that refuses it; `None` if it must be let in.
struct Row {
    name: &'static str,
    mind: Mind,
    door: Door,
    headers: Vec<(&'static str, String)>,
    query: Vec<String>,
    expected: Option<u16>,
}

fn at(door: Door, name: &'static str) -> Row {
    Row { name, mind: Usual, door, headers: Vec::new(), query: Vec::new(), expected: None }
}

impl Row {
    fn of(self, mind: Mind) -> Self {
        Self { mind, ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn origin(self, origin: &str) -> Self {
        self.header("origin", origin)
    }

    fn listed(self) -> Self {
        self.origin(ORIGIN)
    }

    fn site(self, site: &str) -> Self {
        self.header("sec-fetch-site", site)
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    fn authorization(self, value: impl Into<String>) -> Self {
        self.header("authorization", value)
    }

    fn cookie(self, token: &str) -> Self {
        self.header("cookie", format!("rallypoint_token={token}"))
    }

    /// As an offered subprotocol, in the same line as the one to speak.
    fn offer(self, token: &str) -> Self {
        self.header("sec-websocket-protocol", format!("rallypoint.v1.json, bearer.{token}"))
    }

    fn query(mut self, token: &str) -> Self {
        self.query.push(format!("token={}", encoded(token)));
        self
    }

    fn refused(self, code: u16) -> Self {
        Self { expected: Some(code), ..self }
    }

    fn ask(&self) -> Ask {
        let mut ask = self.door.ask(&self.query.join("&"));
        if self.headers.iter().any(|(name, _)| *name == "sec-websocket-protocol") {
            ask = ask.upgrade_without_offer();
        }
        self.headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
    }
}

/// The tokens of the rows.
struct Tokens {
    ada: String,
    bob: String,
    expired: String,
    /// Of no issuer and for nobody.
    nowhere: String,
    /// Of no issuer.
    nobodys: String,
    /// Of an issuer that no key names.
    strangers: String,
}

fn guest(user: &str) -> Pass {
    pass(user).host("*").admin("kick")
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_origins_at_every_door() {
    let by = |issuer: Option<&str>| {
        let mut guest = guest("ada");
        guest.0.iss = issuer.map(str::to_owned);
        guest
    };
    let mut nowhere = by(None);
    nowhere.0.aud.0.clear();
    let tokens = Tokens {
        ada: guest("ada").mint(),
        bob: guest("bob").mint(),
        expired: guest("ada").expires_in(-3600.0).mint(),
        nowhere: nowhere.mint(),
        nobodys: by(None).mint(),
        strangers: by(Some("https://unknown.test")).mint(),
    };
    let mut tally = Tally::default();
    let sections: [fn(&Tokens) -> Vec<Row>; 7] = [headers, offers, cookies, queries, pairs, origins, minds];
    let rows: Vec<_> = sections.iter().flat_map(|section| section(&tokens)).collect();
    for mind in MINDS {
        let node = mind.start().await;
        for row in rows.iter().filter(|row| row.mind == mind) {
            tally.row();
            let outcome = row.door.send(&node, row.ask()).await;
            tally.tried(&format!("{} ({mind:?}, {:?})", row.name, row.door), outcome, row.expected);
        }
        // The end of a test looks at the gauges, as a program without an Origin.
        if mind == Strict { node.stop().await } else { is_well(node).await }
    }
    tally.end("credentials and origins", 80);
}

fn headers(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, bob, expired, nobodys, strangers, .. } = tokens;
    let poll = |name| at(Door::Poll, name);
    vec![
        poll("nothing").refused(700),
        poll("a token").bearer(ada),
        poll("bearer in lower case").authorization(format!("bearer {ada}")),
        poll("bearer in capitals").authorization(format!("BEARER {ada}")),
        poll("two spaces before the token").authorization(format!("Bearer  {ada}")),
        poll("a tab before the token").authorization(format!("Bearer\t{ada}")).refused(701),
        poll("an expired token").bearer(expired).refused(702),
        // The key of these servers names no issuer: it takes those of all, but not of nobody.
        poll("a token of any issuer").bearer(strangers),
        poll("a token of no issuer").bearer(nobodys).refused(701),
        at(SOCKET, "a token of no issuer").bearer(nobodys).refused(701),
        poll("only the word").authorization("Bearer").refused(701),
        poll("only the token").authorization(ada).refused(701),
        poll("an empty header").authorization("").refused(701),
        poll("another scheme").authorization("Basic YWRhOmFkYQ==").refused(701),
        poll("a scheme that ends so").authorization(format!("XBearer {ada}")).refused(701),
        poll("two tokens with a comma").authorization(format!("Bearer {ada},{bob}")).refused(701),
        poll("two tokens with a space").authorization(format!("Bearer {ada} {bob}")).refused(701),
        poll("parameters").authorization(format!("Bearer token={ada}")).refused(701),
        poll("letters that are none").authorization(format!("Bearer {ada}é")).refused(701),
        poll("the header twice, the same").bearer(ada).bearer(ada),
        poll("the header twice, different").bearer(ada).bearer(bob).refused(703),
        poll("the header twice, one of another scheme").bearer(ada).authorization("Basic x").refused(701),
        poll("the header twice, the first of another scheme").authorization("Basic x").bearer(ada).refused(701),
        poll("in a proxy's header").header("proxy-authorization", format!("Bearer {ada}")).refused(700),
    ]
}

fn offers(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, bob, expired, .. } = tokens;
    let line = |row: Row, offers: String| row.header("sec-websocket-protocol", offers);
    let token = format!("bearer.{ada}");
    vec![
        at(SOCKET, "nothing").refused(700),
        at(SOCKET, "an offer").offer(ada),
        at(SOCKET, "an offer of a page").offer(ada).listed(),
        at(SOCKET, "an expired offer").offer(expired).refused(702),
        at(SOCKET, "an expired offer of a page").offer(expired).listed().refused(702),
        line(at(SOCKET, "the token before the protocol"), format!("{token},rallypoint.v1.json")),
        line(line(at(SOCKET, "the token in a line of its own"), "rallypoint.v1.json".into()), token.clone()),
        line(at(SOCKET, "the same offer twice"), format!("rallypoint.v1.json, {token}, {token}")),
        line(at(SOCKET, "two offers"), format!("rallypoint.v1.json, {token}, bearer.{bob}")).refused(703),
        line(at(SOCKET, "two offers in two lines").offer(ada), format!("bearer.{bob}")).refused(703),
        line(at(SOCKET, "an empty offer"), "rallypoint.v1.json, bearer.".into()).refused(701),
        line(at(SOCKET, "an offer with a space"), "rallypoint.v1.json, bearer.a b".into()).refused(701),
        line(at(SOCKET, "an offer without a protocol to speak"), token.clone()).refused(600),
        line(at(SOCKET, "another spelling of the offer"), format!("rallypoint.v1.json, Bearer.{ada}")).refused(700),
        line(at(Door::Poll, "an offer where there is no WebSocket"), token.clone()).refused(700),
        line(at(Door::Publish, "an offer to a back end's route"), token).refused(700),
    ]
}

fn cookies(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, bob, expired, .. } = tokens;
    let jar = |row: Row, cookies: String| row.header("cookie", cookies);
    let (publish, end, poll) = (Door::Publish, Door::EndSessions, Door::Poll);
    let mut rows = vec![
        at(publish, "a cookie without Origin").cookie(ada).refused(709),
        at(publish, "a cookie without Origin, from the same site it says").cookie(ada).site("same-origin").refused(709),
        at(publish, "a cookie of a listed page").cookie(ada).listed(),
        at(publish, "a cookie of a listed page, across sites").cookie(ada).listed().site("cross-site"),
        at(publish, "a cookie of a page that is not listed").cookie(ada).origin("https://evil.example").refused(704),
        at(publish, "a cookie of a page that hides").cookie(ada).origin("null").refused(704),
        at(end, "a cookie without Origin").cookie(ada).refused(709),
        at(end, "a cookie without Origin, from the same site it says").cookie(ada).site("same-origin").refused(709),
        at(end, "a cookie of a listed page").cookie(ada).listed(),
        at(end, "a cookie of a page that is not listed").cookie(ada).origin("https://evil.example").refused(704),
        at(SOCKET, "a cookie without Origin").cookie(ada).refused(709),
        at(SOCKET, "a cookie without Origin, from the same site it says").cookie(ada).site("same-origin").refused(709),
        at(SOCKET, "a cookie of a listed page").cookie(ada).listed(),
        at(BINARY, "a cookie of a listed page").cookie(ada).listed(),
        at(SOCKET, "a cookie of a listed subdomain").cookie(ada).origin("https://a.games.example"),
        at(SOCKET, "a cookie of a page that is not listed").cookie(ada).origin("https://evil.example").refused(704),
        at(SOCKET, "an expired cookie of a listed page").cookie(expired).listed().refused(702),
        at(Door::Stream, "a cookie from the same origin").cookie(ada).site("same-origin"),
        at(Door::Stream, "a cookie without a word from where").cookie(ada).refused(709),
        at(Door::Stream, "a cookie from another site").cookie(ada).site("cross-site").refused(709),
        at(Door::Stream, "a cookie of a listed page").cookie(ada).listed().site("cross-site"),
        at(poll, "a cookie from the same origin").cookie(ada).site("same-origin"),
        at(poll, "a cookie without a word from where").cookie(ada).refused(709),
        at(poll, "a cookie of a listed page").cookie(ada).listed(),
        at(poll, "an expired cookie").cookie(expired).site("same-origin").refused(702),
    ];
    for site in ["same-site", "cross-site", "none", "Same-Origin", "same-origin, same-origin", ""] {
        rows.push(at(poll, "a cookie and another word from where").cookie(ada).site(site).refused(709));
    }
    let home = |name| at(poll, name).site("same-origin");
    rows.extend([
        jar(home("a cookie among others"), format!("theme=dark; rallypoint_token={ada}; x=y")),
        jar(home("a cookie beside one that is not ASCII"), format!("city=Zürich; rallypoint_token={ada}")),
        jar(home("a cookie in quotes"), format!("rallypoint_token=\"{ada}\"")),
        jar(home("a cookie of another name"), format!("token={ada}; xrallypoint_token={ada}")).refused(700),
        jar(home("a cookie of another case"), format!("Rallypoint_Token={ada}")).refused(700),
        jar(home("an empty cookie"), "rallypoint_token=".into()).refused(700),
        jar(home("the cookie twice, the same"), format!("rallypoint_token={ada}; rallypoint_token={ada}")),
        jar(home("the cookie twice"), format!("rallypoint_token={ada}; rallypoint_token={bob}")).refused(703),
        home("the cookie in two lines").cookie(ada).cookie(bob).refused(703),
        jar(home("a cookie that is no token"), "rallypoint_token=hello".into()).refused(701),
    ]);
    rows
}

fn queries(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, bob, expired, .. } = tokens;
    let doors = [SOCKET, Door::Stream, Door::Poll, Door::Publish, Door::EndSessions];
    let off = doors.map(|door| at(door, "a token in the query, which is off").query(ada).refused(709));
    let on = doors.map(|door| at(door, "a token in the query, which is on").of(Query).query(ada));
    let poll = |name| at(Door::Poll, name).of(Query);
    let mut rows: Vec<_> = off.into_iter().chain(on).collect();
    rows.extend([
        at(SOCKET, "a page's token in the query, which is off").query(ada).listed().refused(709),
        at(Door::Poll, "a token in the query, which is off, beside the same").query(ada).bearer(ada).refused(709),
        at(Door::Poll, "an empty token in the query, which is off").query("").refused(709),
        poll("an expired token in the query").query(expired).refused(702),
        poll("an empty token in the query").query("").refused(701),
        poll("a token and more in the query").query(&format!("{ada} x")).refused(701),
        poll("a token twice in the query").query(ada).query(ada),
        poll("two tokens in the query").query(ada).query(bob).refused(703),
        poll("two tokens in the query, one empty").query(ada).query("").refused(701),
        at(Door::Poll, "a token in the query under --dev").of(Dev).query(ada),
    ]);
    rows
}

/// Two credentials at once: the same is fine, two different ones are not.
fn pairs(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, bob, expired, .. } = tokens;
    type Place = fn(Row, &str) -> Row;
    let (header, offer, cookie, query): (Place, Place, Place, Place) =
        (Row::bearer, Row::offer, Row::cookie, Row::query);
    let web = |door| at(door, "").of(Query).listed();
    let mut rows = Vec::new();
    for (name, first, second) in [
        ("header and offer", header, offer),
        ("header and cookie", header, cookie),
        ("header and query", header, query),
        ("offer and cookie", offer, cookie),
        ("offer and query", offer, query),
        ("cookie and query", cookie, query),
    ] {
        // Where no subprotocols are offered the others remain.
        let doors: &[Door] = if name.contains("offer") { &[SOCKET] } else { &[SOCKET, Door::Poll, Door::Publish] };
        for &door in doors {
            let row = |one: &str, two: &str| Row { name, ..second(first(web(door), one), two) };
            rows.push(row(ada, ada));
            rows.push(row(ada, bob).refused(703));
            rows.push(row(bob, ada).refused(703));
            // Not even if only one of them is good.
            rows.push(row(ada, expired).refused(703));
        }
    }
    rows.extend([
        at(SOCKET, "a program's header and offer").bearer(ada).offer(bob).refused(703),
        at(Door::Publish, "a cookie that does not count beside a header").cookie(bob).bearer(ada),
        at(Door::Poll, "a cookie that does not count beside a header").cookie(bob).bearer(ada).site("cross-site"),
        at(Door::Poll, "a cookie that does not count beside a bad header").cookie(ada).bearer("x").refused(701),
    ]);
    rows
}

fn origins(tokens: &Tokens) -> Vec<Row> {
    let ada = &tokens.ada;
    let mut rows = Vec::new();
    for (name, origin, good) in [
        ("a listed page", "https://app.example", true),
        ("a listed page in capitals", "HTTPS://APP.EXAMPLE", true),
        ("a listed page with the port of its scheme", "https://app.example:443", true),
        ("a listed page with another port", "https://app.example:8443", false),
        ("a listed page with the port of another scheme", "https://app.example:80", false),
        ("a listed page with another scheme", "http://app.example", false),
        ("a listed page with no scheme", "app.example", false),
        ("a listed page and a slash", "https://app.example/", false),
        ("a listed page and a path", "https://app.example/x", false),
        ("a listed page and a dot", "https://app.example.", false),
        ("a listed page and a user", "https://ada@app.example", false),
        ("a listed page as a user", "https://app.example@evil.example", false),
        ("a listed page as a prefix", "https://app.example.evil.example", false),
        ("a listed page as a suffix", "https://evil-app.example", false),
        ("a subdomain of a listed page", "https://sub.app.example", false),
        ("two pages, one listed", "https://app.example https://evil.example", false),
        ("a page that is not listed", "https://evil.example", false),
        ("a page that hides", "null", false),
        ("an empty origin", "", false),
        ("a listed subdomain", "https://a.games.example", true),
        ("a listed subdomain below", "https://a.b.games.example", true),
        ("the domain above listed ones", "https://games.example", false),
        ("a domain that ends like listed ones", "https://evilgames.example", false),
        ("a listed subdomain as a prefix", "https://a.games.example.evil.example", false),
        ("a listed subdomain as a path", "https://evil.example/.games.example", false),
        ("a listed subdomain as a port", "https://evil.example:.games.example", false),
    ] {
        for door in [SOCKET, Door::Poll, Door::Publish] {
            let row = at(door, name).bearer(ada).origin(origin);
            rows.push(if good { row } else { row.refused(704) });
        }
    }
    rows.extend([
        at(Door::Preflight, "a listed page asks beforehand").listed(),
        at(Door::Preflight, "a page that is not listed asks beforehand").origin("https://evil.example").refused(704),
        // Refused before anybody looks at a token, and told so.
        at(Door::Poll, "a page that is not listed, without a token").origin("https://evil.example").refused(704),
        at(SOCKET, "a page that is not listed, without a token").origin("https://evil.example").refused(704),
        at(SOCKET, "a page that is not listed, with an offer").origin("https://evil.example").offer(ada).refused(704),
    ]);
    rows
}

/// What other configurations change.
fn minds(tokens: &Tokens) -> Vec<Row> {
    let Tokens { ada, expired, nowhere, .. } = tokens;
    let poll = |name| at(Door::Poll, name);
    let anywhere = "https://anywhere.example";
    vec![
        poll("any page").of(Star).bearer(ada).origin(anywhere),
        at(SOCKET, "any page").of(Star).offer(ada).origin(anywhere),
        poll("a page that hides, where any may come").of(Star).bearer(ada).origin("null").refused(704),
        poll("a cookie of any page").of(Star).cookie(ada).origin(anywhere).refused(709),
        poll("a cookie of a listed page, where any may come").of(Star).cookie(ada).listed().refused(709),
        poll("a cookie from the same origin, where any may come").of(Star).cookie(ada).site("same-origin").refused(709),
        at(SOCKET, "a cookie of a listed page, where any may come").of(Star).cookie(ada).listed().refused(709),
        at(Door::Publish, "a cookie of a listed page, where any may come").of(Star).cookie(ada).listed().refused(709),
        poll("a page that hides, which is listed").of(Null).bearer(ada).origin("null"),
        poll("a cookie of a page that hides, which is listed").of(Null).cookie(ada).origin("null").refused(709),
        at(SOCKET, "a cookie of a page that hides, which is listed").of(Null).cookie(ada).origin("null").refused(709),
        poll("a program, where only pages may come").of(Strict).bearer(ada).refused(704),
        at(SOCKET, "a program, where only pages may come").of(Strict).bearer(ada).refused(704),
        at(Door::Publish, "a program, where only pages may come").of(Strict).bearer(ada).refused(704),
        poll("a listed page, where only pages may come").of(Strict).bearer(ada).listed(),
        at(SOCKET, "a listed page, where only pages may come").of(Strict).offer(ada).listed(),
        poll("a page of this machine").bearer(ada).origin("http://localhost:5173").refused(704),
        poll("a page of this machine under --dev").of(Dev).bearer(ada).origin("http://localhost:5173"),
        poll("a page of another machine under --dev").of(Dev).bearer(ada).origin("https://evil.example").refused(704),
        poll("a page named like this machine").of(Dev).bearer(ada).origin("http://localhost.evil.example").refused(704),
        poll("no iss and no aud").bearer(nowhere).refused(701),
        poll("no iss and no aud under --dev").of(Dev).bearer(nowhere),
        at(SOCKET, "no iss and no aud under --dev").of(Dev).bearer(nowhere),
        poll("an expired token under --dev").of(Dev).bearer(expired).refused(702),
        poll("nothing under --dev").of(Dev).refused(700),
        poll("a bad signature under --dev").of(Dev).bearer(&format!("{nowhere}A")).refused(701),
    ]
}
