//! The pages, embedded in the binary. Everything that no other route took ends here.
//!
//! They are built by `make pages` into `clients/pages/dist`; a build of the server without them has one page, which says
//! how to get the others. A page is an HTML file there: `call.html` is at `/call`, `index.html` at `/`. Whatever has the
//! hash of its content in its name (`assets/`) is kept by browsers for good. Beside a text stands its gzip (`.gz`).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rust_embed::RustEmbed;
use warp::{path::Tail, reply::Response};

use super::{ask::Ask, nowhere, on_open};

#[derive(RustEmbed)]
#[folder = "clients/pages/dist/"]
#[allow_missing = true]
struct Pages;

/// What stands at `/` in a server that was built without the pages.
const UNBUILT: &[u8] = include_bytes!("unbuilt.html");

/// Scripts and styles only from here, sockets to here, cameras as streams; nothing inline.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Their names say what is in them.
const HASHED: &str = "assets/";
const GZIP: &str = ".gz";

/// A file as it is embedded.
struct File {
    content: Cow<'static, [u8]>,
    hash: [u8; 32],
}

fn embedded(name: &str) -> Option<File> {
    Pages::get(name).map(|file| File { content: file.data, hash: file.metadata.sha256_hash() })
}

/// Whether this server has its pages.
pub(super) fn are_built() -> bool {
    embedded("index.html").is_some()
}

/// A file of the pages, or 404.
pub(super) async fn page(tail: Tail, ask: Ask, served: bool) -> Response {
    let name = if tail.as_str().is_empty() { "index" } else { tail.as_str() };
    let found = if served { find(name, &ask.headers, embedded) } else { None };
    let Some(response) = found else {
        let hint = match name {
            "index" => "the pages are switched off",
            _ if name.starts_with("v1/") => "no such route; a `/` within a name is written %2F",
            _ => "no such route",
        };
        return nowhere(&ask, hint);
    };
    on_open(ask, &[Method::GET, Method::HEAD], |_| async move { Ok(response) }).await
}

/// The answer for a path without its leading slash, from the files that `lookup` knows.
fn find(path: &str, asked: &HeaderMap, lookup: impl Fn(&str) -> Option<File>) -> Option<Response> {
    // The twins are for those who ask for the text itself.
    if path.ends_with(GZIP) {
        return None;
    }
    let found = |name: String| lookup(&name).map(|file| (name, file));
    let unbuilt = || ("index.html".to_owned(), File { content: UNBUILT.into(), hash: [0; 32] });
    let page = || found(format!("{path}.html"));
    let (name, file) = found(path.to_owned()).or_else(page).or_else(|| (path == "index").then(unbuilt))?;
    let tag = entity_tag(&file.hash);
    let mut response = Response::default();
    if knows(asked, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let twin = takes_gzip(asked).then(|| lookup(&format!("{name}{GZIP}"))).flatten();
        if twin.is_some() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        *response.body_mut() = match twin.unwrap_or(file).content {
            Cow::Borrowed(embedded) => Bytes::from_static(embedded).into(),
            Cow::Owned(read) => read.into(),
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind_of(&name)));
    }
    let kept = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(header::ETAG, tag);
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// Weak, since the text and its gzip share it (RFC 9110 section 8.8.3).
fn entity_tag(hash: &[u8; 32]) -> HeaderValue {
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("W/\"{hex}\"")).expect("hex digits and quotes are visible ASCII")
}

/// Whether the client has this already (RFC 9110 section 13.1.2).
fn knows(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok()).any(|list| {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let ours = tag.to_str().map(opaque).unwrap_or_default();
        list.split(',').any(|each| each.trim() == "*" || opaque(each) == ours)
    })
}

/// Whether gzip is named and not refused by `q=0` (RFC 9110 section 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let refuses = |parameter: &str| {
        let weight = parameter.trim().strip_prefix("q=").or_else(|| parameter.trim().strip_prefix("Q="));
        weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    };
    asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok()).any(|list| {
        list.split(',').any(|each| {
            let mut parts = each.split(';');
            parts.next().is_some_and(|coding| coding.trim().eq_ignore_ascii_case("gzip")) && !parts.any(refuses)
        })
    })
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages, one of them with its gzip, and what they ask for.
    fn built(name: &str) -> Option<File> {
        let (content, hash): (&'static [u8], u8) = match name {
            "index.html" => (b"<h1>home</h1>", 1),
            "index.html.gz" => (b"packed home", 2),
            "call.html" => (b"<h1>call</h1>", 3),
            "assets/call-1a2b.js" => (b"call()", 4),
            "assets/call-1a2b.js.gz" => (b"packed call()", 5),
            _ => return None,
        };
        Some(File { content: content.into(), hash: [hash; 32] })
    }

    fn asked(headers: &[(header::HeaderName, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    async fn body(response: Response) -> Vec<u8> {
        use http_body_util::BodyExt;
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    fn text<'a>(response: &'a Response, name: &header::HeaderName) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn a_page_has_its_name_without_the_ending() {
        for (path, content) in [("index", "<h1>home</h1>"), ("call", "<h1>call</h1>"), ("call.html", "<h1>call</h1>")] {
            let response = find(path, &HeaderMap::new(), built).unwrap();
            assert_eq!(text(&response, &header::CONTENT_TYPE), "text/html; charset=utf-8", "{path}");
            assert_eq!(text(&response, &header::CACHE_CONTROL), "no-cache", "{path}");
            assert!(text(&response, &header::CONTENT_SECURITY_POLICY).contains("script-src 'self';"), "{path}");
            assert_eq!(body(response).await, content.as_bytes(), "{path}");
        }
        for path in ["calls", "call/", "../Cargo.toml", "index.html.gz", "assets/", "assets/call-1a2b.js.gz", ""] {
            assert!(find(path, &HeaderMap::new(), built).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn what_has_a_hash_in_its_name_is_kept_for_good() {
        let response = find("assets/call-1a2b.js", &HeaderMap::new(), built).unwrap();
        assert_eq!(text(&response, &header::CACHE_CONTROL), "public, max-age=31536000, immutable");
        assert_eq!(text(&response, &header::CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(text(&response, &header::CONTENT_ENCODING), "");
        assert_eq!(body(response).await, b"call()");
    }

    #[tokio::test]
    async fn gzip_goes_to_those_who_take_it() {
        for (accepts, packed) in [
            ("gzip", true),
            ("br;q=1.0, GZIP;q=0.8, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("br", false),
            ("", false),
        ] {
            let response = find("index", &asked(&[(header::ACCEPT_ENCODING, accepts)]), built).unwrap();
            assert_eq!(text(&response, &header::CONTENT_ENCODING), if packed { "gzip" } else { "" }, "{accepts}");
            assert_eq!(text(&response, &header::VARY), "Accept-Encoding");
            assert_eq!(text(&response, &header::CONTENT_TYPE), "text/html; charset=utf-8");
            assert_eq!(
                body(response).await,
                if packed { "packed home" } else { "<h1>home</h1>" }.as_bytes(),
                "{accepts}"
            );
        }
        // A file without a twin.
        let response = find("call", &asked(&[(header::ACCEPT_ENCODING, "gzip")]), built).unwrap();
        assert_eq!(text(&response, &header::CONTENT_ENCODING), "");
    }

    #[tokio::test]
    async fn who_has_it_already_is_told_so() {
        let first = find("call", &HeaderMap::new(), built).unwrap();
        let tag = text(&first, &header::ETAG).to_owned();
        assert_eq!(tag, format!("W/\"{}\"", "03".repeat(16)));
        for (known, same) in
            [(&*tag, true), ("W/\"00\", W/\"03030303030303030303030303030303\"", true), ("*", true), ("\"03\"", false)]
        {
            let response = find("call", &asked(&[(header::IF_NONE_MATCH, known)]), built).unwrap();
            let expected = if same { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            assert_eq!(response.status(), expected, "{known}");
            assert_eq!(text(&response, &header::ETAG), tag);
            assert_eq!(body(response).await.is_empty(), same, "{known}");
        }
    }

    #[tokio::test]
    async fn a_server_without_the_pages_says_how_to_build_them() {
        let response = find("index", &HeaderMap::new(), |_| None).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let page = String::from_utf8(body(response).await).unwrap();
        assert!(page.contains("make pages"), "{page}");
        assert!(!page.contains("<script") && !page.contains("style="), "the policy lets nothing inline through");
        assert!(find("call", &HeaderMap::new(), |_| None).is_none());
    }
}
