//! Ways in, and ways to be turned away.

use rallypoint_client::{
    Client, Credential, Error, Options,
    protocol::{ErrorCode, Request},
    tungstenite::http::header::{AUTHORIZATION, COOKIE, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::{Peer, decoded, listen};

#[tokio::test]
async fn the_token_travels_where_it_should_and_nowhere_else() {
    for credential in
        [Credential::FirstMessage, Credential::Header, Credential::Subprotocol, Credential::Query, Credential::None]
    {
        let (listener, options) = listen().await;
        let headers = vec![("Cookie".to_owned(), "a=b".to_owned())];
        let options = Options { credential, origin: Some("http://o".to_owned()), headers, ..options };
        let serve = async {
            let mut peer = Peer::accept(&listener).await;
            if credential == Credential::FirstMessage {
                let Request::Auth { token, .. } = peer.request().await else { panic!("not auth") };
                assert_eq!(token, "the-token");
            }
            peer.welcome().await;
            peer
        };
        let (connected, peer) = tokio::join!(Client::connect(options), serve);
        assert!(connected.is_ok());
        let (uri, headers) = (peer.upgrade.uri().to_string(), peer.upgrade.headers());
        assert_eq!(uri == "/v1/ws?token=the-token", credential == Credential::Query, "{uri}");
        let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
        assert_eq!(authorization, (credential == Credential::Header).then_some("Bearer the-token"));
        let offered = headers[SEC_WEBSOCKET_PROTOCOL].to_str().unwrap();
        assert_eq!(offered.contains("bearer.the-token"), credential == Credential::Subprotocol);
        assert_eq!((&headers[ORIGIN], &headers[COOKIE]), (&"http://o".parse().unwrap(), &"a=b".parse().unwrap()));
    }
}

#[tokio::test]
async fn a_refused_handshake_brings_its_problem() {
    let (listener, options) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let body = r#"{"type":"about:blank","title":"token-expired","status":401,"code":702,"detail":"late"}"#;
        let answer = format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (connected, ()) = tokio::join!(Client::connect(options), serve);
    let error = connected.unwrap_err();
    assert!(matches!(error, Error::Handshake { status: 401, .. }));
    assert_eq!(error.code(), Some(ErrorCode::TokenExpired));
    assert!(!error.to_string().contains("the-token"));
}

#[tokio::test]
async fn a_numbered_close_in_place_of_connected_brings_its_error() {
    let (listener, options) = listen().await;
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        let fatal = json!({ "type": "error", "re": null, "code": 701, "name": "token-invalid", "message": "no" });
        peer.send(&decoded(&fatal)).await;
        peer.close(4401, "bad-token: no").await;
    };
    let (connected, ()) = tokio::join!(Client::connect(options), serve);
    let error = connected.unwrap_err();
    assert_eq!((error.close_code(), error.code()), (Some(4401), Some(ErrorCode::TokenInvalid)));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout() {
    let (listener, options) = listen().await;
    let options = Options { timeout: std::time::Duration::from_millis(50), ..options };
    let (connected, _peer) = tokio::join!(Client::connect(options), Peer::accept(&listener));
    assert!(matches!(connected, Err(Error::Timeout)));
}
