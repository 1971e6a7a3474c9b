//! The first page, embedded in the binary. Everything that no other route took ends here.

use http::{HeaderValue, Method, header};
use rallypoint_protocol::{ErrorCode, codec::Refused};
use rust_embed::RustEmbed;
use warp::{path::Tail, reply::Response};

use super::{ask::Ask, on, problem};

#[derive(RustEmbed)]
#[folder = "clients/pages/first/"]
struct Pages;

/// Scripts and styles only from here, sockets to here, cameras as streams; nothing inline.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; \
     style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of the pages, or 404.
pub(super) async fn page(tail: Tail, ask: Ask, served: bool) -> Response {
    let name = if tail.as_str().is_empty() { "index.html" } else { tail.as_str() };
    let Some(file) = Pages::get(name).filter(|_| served) else {
        ask.context.hub.metrics().refuse(ErrorCode::NotFound);
        let hint = if name == "index.html" { "the pages are switched off" } else { "no such route" };
        return problem::reply(&Refused::new(ErrorCode::NotFound, hint), None);
    };
    let kind = kind_of(name);
    on(ask, &[Method::GET, Method::HEAD], |_| async move {
        let mut response = Response::new(file.data.into_owned().into());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(response)
    })
    .await
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
