//! Errors over HTTP: `application/problem+json` (RFC 9457) with the numbers of the spec.

use http::{HeaderValue, Response, StatusCode, header};
use rallypoint_protocol::{ErrorCode, codec::Refused};
use serde_json::json;

/// An error as a response.
pub(super) fn reply<B: From<String>>(refused: &Refused) -> Response<B> {
    let code = refused.code;
    let mut body = json!({
        "type": "about:blank",
        "title": code.name(),
        "status": code.http_status(),
        "code": code,
        "detail": refused.message,
    });
    let wait = refused.retry_after;
    if let Some(wait) = wait {
        body["retry_after"] = wait.into();
    }
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    if code.http_status() == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An error in its own words.
pub(super) fn of<B: From<String>>(code: ErrorCode) -> Response<B> {
    reply(&code.into())
}
