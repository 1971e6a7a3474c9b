//! The pages, embedded in the binary as their build left them. Everything that no other route took ends here.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rallypoint_protocol::{ErrorCode, codec::Refused};
use rust_embed::RustEmbed;
use warp::{path::Tail, reply::Response};

use super::{ask::Ask, on, problem};

#[derive(RustEmbed)]
#[folder = "clients/pages/dist/"]
#[allow_missing = true]
struct Pages;

/// Stands in for the first page where none were built.
const UNBUILT: &str = include_str!("unbuilt.html");

/// Scripts and styles only from here, sockets to here, cameras as streams; nothing inline.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Whether there are pages to serve.
pub(crate) fn are_built() -> bool {
    embedded("index.html").is_some()
}

/// A file of the pages, or 404.
pub(super) async fn page(tail: Tail, ask: Ask, served: bool) -> Response {
    let file = if served { look_up(tail.as_str(), embedded) } else { None };
    let Some(file) = file else {
        ask.context.hub.metrics().refuse(ErrorCode::NotFound);
        let hint = if tail.as_str().is_empty() { "the pages are switched off" } else { "no such route" };
        return problem::reply(&Refused::new(ErrorCode::NotFound, hint), None);
    };
    on(ask, &[Method::GET, Method::HEAD], |ask| async move { Ok(file.response(&ask.headers)) }).await
}

fn embedded(name: &str) -> Option<Content> {
    let file = Pages::get(name)?;
    let hash = file.metadata.sha256_hash();
    // Half of it tells contents apart as well.
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Some(Content { bytes, tag: hash[..16].iter().map(|byte| format!("{byte:02x}")).collect() })
}

/// What a file has in it.
#[derive(Clone)]
struct Content {
    bytes: Bytes,
    /// Another one for other bytes.
    tag: String,
}

/// A file that has an address.
struct File {
    name: String,
    plain: Content,
    /// The same, compressed by whoever built it.
    gzip: Option<Content>,
}

/// Finds what is at a path: `call` is the page `call.html`, nothing is the first one, and any other file goes by its
/// name. What was compressed has no address of its own.
fn look_up(path: &str, find: impl Fn(&str) -> Option<Content>) -> Option<File> {
    // Names never begin with a dot, so no path leads out of the folder, which a debug build reads as it is on the disk.
    let is_name = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    if path.ends_with(".gz") || !(path.is_empty() || path.split('/').all(is_name)) {
        return None;
    }
    let page = format!("{}.html", if path.is_empty() { "index" } else { path });
    let (name, plain) = match find(&page) {
        Some(plain) => (page, plain),
        None if path.is_empty() => (page, Content { bytes: UNBUILT.into(), tag: "unbuilt".to_owned() }),
        None => (path.to_owned(), find(path)?),
    };
    let gzip = find(&format!("{name}.gz"));
    Some(File { name, plain, gzip })
}

impl File {
    /// The answer to a request with these headers.
    fn response(self, asked: &HeaderMap) -> Response {
        let Self { name, plain, gzip } = self;
        let varies = gzip.is_some();
        let gzip = gzip.filter(|_| takes_gzip(asked));
        let encoded = gzip.is_some();
        let Content { bytes, tag } = gzip.unwrap_or(plain);
        let tag = format!("\"{tag}\"");
        let known = is_known(asked, &tag);
        let body = if known { Bytes::new() } else { bytes };
        let mut response = Response::new(body.into());
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind_of(&name)));
        // The build names what is in this folder after its content.
        let lasts = name.starts_with("assets/");
        let cached = if lasts { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cached));
        headers.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
        if varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if encoded {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The entries of a header that is a list, of all its lines.
fn entries(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether gzip may be sent (RFC 9110 section 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let weight = |coding: &str| {
        entries(asked, header::ACCEPT_ENCODING).find_map(|entry| {
            let (name, parameter) = entry.split_once(';').unwrap_or((entry, "q=1"));
            let is_it = name.trim().eq_ignore_ascii_case(coding);
            // A weight that cannot be read is none.
            is_it.then(|| parameter.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// Whether who asks has what the tag stands for (RFC 9110 section 13.1.2).
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    entries(asked, header::IF_NONE_MATCH).any(|entry| entry == "*" || entry.strip_prefix("W/").unwrap_or(entry) == tag)
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// A folder as a build leaves it.
    const DIST: [(&str, &str); 9] = [
        ("index.html", "the first page"),
        ("index.html.gz", "the first page, small"),
        ("call.html", "a call"),
        ("assets/call-1a2b.js", "a script"),
        ("assets/call-1a2b.js.gz", "a script, small"),
        ("assets/ball-3c4d.png", "a picture"),
        ("assets/text-5e6f.woff2", "letters"),
        ("app.webmanifest", "{}"),
        ("robots.txt", "none"),
    ];

    fn dist(name: &str) -> Option<Content> {
        let (name, text) = DIST.iter().find(|(known, _)| *known == name)?;
        Some(Content { bytes: (*text).into(), tag: format!("tag of {name}") })
    }

    /// Status, body and headers of an answer.
    async fn get(path: &str, asked: &[(&'static str, &str)]) -> Option<(u16, String, HeaderMap)> {
        let asked = asked.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        let (head, body) = look_up(path, dist)?.response(&asked).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Some((head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap(), head.headers))
    }

    #[tokio::test]
    async fn each_file_has_its_address_and_its_kind() {
        const LASTS: &str = "public, max-age=31536000, immutable";
        for (path, text, kind, cached) in [
            ("", "the first page", "text/html; charset=utf-8", "no-cache"),
            ("index", "the first page", "text/html; charset=utf-8", "no-cache"),
            ("call", "a call", "text/html; charset=utf-8", "no-cache"),
            ("call.html", "a call", "text/html; charset=utf-8", "no-cache"),
            ("assets/call-1a2b.js", "a script", "text/javascript; charset=utf-8", LASTS),
            ("assets/ball-3c4d.png", "a picture", "image/png", LASTS),
            ("assets/text-5e6f.woff2", "letters", "font/woff2", LASTS),
            ("app.webmanifest", "{}", "application/manifest+json", "no-cache"),
            ("robots.txt", "none", "text/plain; charset=utf-8", "no-cache"),
        ] {
            let (status, body, headers) = get(path, &[]).await.expect(path);
            assert_eq!((status, body.as_str()), (200, text), "{path}");
            let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!((header("content-type"), header("cache-control")), (Some(kind), Some(cached)), "{path}");
            assert_eq!((header("content-encoding"), header("x-content-type-options")), (None, Some("nosniff")));
            assert_eq!(
                (header("referrer-policy"), header("content-security-policy")),
                (Some("no-referrer"), Some(POLICY))
            );
        }
        assert!(!POLICY.contains("unsafe"));
        for (ending, kind) in
            [("css", "text/css; charset=utf-8"), ("svg", "image/svg+xml"), ("json", "application/json")]
        {
            assert_eq!(kind_of(&format!("a.b.{ending}")), kind);
        }
    }

    #[tokio::test]
    async fn anything_else_is_not_there() {
        for path in [
            "cal",
            "call/",
            "assets",
            "assets/",
            "assets/call",
            "index.html.gz",
            "assets/call-1a2b.js.gz",
            "index.html/",
        ] {
            assert!(get(path, &[]).await.is_none(), "{path}");
        }
        // On a disk each of these would be another file.
        let anything = |_: &str| Some(Content { bytes: "found".into(), tag: String::new() });
        for path in
            ["../Cargo.toml", "assets/../../Cargo.toml", "./call", "/etc/passwd", "assets//x", ".git", "..\\x", "a/.b"]
        {
            assert!(look_up(path, anything).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn who_takes_gzip_is_given_what_was_compressed() {
        for (asked, gzip) in [
            (Some("gzip"), true),
            (Some("br, GZIP;q=0.5"), true),
            (Some("deflate, *"), true),
            (Some("gzip ; q=1.0"), true),
            (None, false),
            (Some(""), false),
            (Some("br"), false),
            (Some("gzip;q=0"), false),
            (Some("gzip; q=0.000, *"), false),
            (Some("*;q=0"), false),
            (Some("gzip;q=much"), false),
        ] {
            let asked: Vec<_> = asked.into_iter().map(|value| ("accept-encoding", value)).collect();
            let (_, body, headers) = get("", &asked).await.unwrap();
            assert_eq!(body == "the first page, small", gzip, "{asked:?}");
            assert_eq!(headers.get("content-encoding").is_some_and(|value| value == "gzip"), gzip, "{asked:?}");
            // Caches are told even where it made no difference.
            assert_eq!(headers["vary"], "Accept-Encoding");
            assert_eq!(headers["content-type"], "text/html; charset=utf-8");
            let tag = if gzip { "\"tag of index.html.gz\"" } else { "\"tag of index.html\"" };
            assert_eq!(headers["etag"], tag);
        }
        let (_, body, headers) = get("call", &[("accept-encoding", "gzip")]).await.unwrap();
        assert_eq!((body.as_str(), headers.get("vary")), ("a call", None));
    }

    #[tokio::test]
    async fn what_is_known_is_not_sent_again() {
        for (known, status) in [
            ("\"tag of call.html\"", 304),
            ("W/\"tag of call.html\"", 304),
            ("\"other\", \"tag of call.html\"", 304),
            ("*", 304),
            ("\"other\"", 200),
            ("tag of call.html", 200),
        ] {
            let (found, body, headers) = get("call", &[("if-none-match", known)]).await.unwrap();
            assert_eq!((found, body.is_empty()), (status, status == 304), "{known}");
            assert!(headers["etag"] == "\"tag of call.html\"" && headers["cache-control"] == "no-cache", "{headers:?}");
        }
        // What was compressed has other bytes, and so another tag.
        let plain = ("if-none-match", "\"tag of index.html\"");
        assert_eq!(get("", &[plain]).await.unwrap().0, 304);
        assert_eq!(get("", &[plain, ("accept-encoding", "gzip")]).await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn without_a_build_the_first_page_says_so() {
        let nothing = |_: &str| None;
        let response = look_up("", nothing).unwrap().response(&HeaderMap::new());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["cache-control"]),
            (200, &"no-cache".parse().unwrap())
        );
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.contains("make pages") && text.contains("href=\"/healthz\""), "{text}");
        // The policy forbids them.
        assert!(!["<script", "<style", "style=", "onclick"].iter().any(|inline| text.contains(inline)));
        assert!(look_up("call", nothing).is_none());
    }
}
