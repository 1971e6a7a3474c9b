//! Tokens for the players: given, read from a file, or asked for at `POST /dev/token`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// An answer larger than this is not a token.
const ANSWER_MAX: u64 = 64 * 1024;

/// Asks a server that runs with `--dev` for the token of one player.
///
/// One request by hand: an HTTP library would be the largest part of this program.
pub(crate) async fn fetch(url: &str, origin: &str, user: &str, room: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or("--token-from begins with http://")?;
    let (authority, path) = rest.split_once('/').map_or((rest, "dev/token"), |(authority, path)| (authority, path));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let body = json!({ "user": user, "name": user, "rooms": [{ "r": room, "role": "player" }] }).to_string();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nOrigin: {origin}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(10), exchange)
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(|error| format!("{address}: {error}"))?;
    read(&String::from_utf8_lossy(&answer))
}

fn read(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer to the token request is cut short")?;
    let status = head.lines().next().unwrap_or_default();
    let token = serde_json::from_str::<Value>(body).ok().and_then(|body| Some(body["token"].as_str()?.to_owned()));
    token.ok_or_else(|| format!("no token: {status}: {}", body.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_from_the_body() {
        assert_eq!(read("HTTP/1.1 201 Created\r\nx: y\r\n\r\n{\"token\":\"a.b\",\"expires\":1}"), Ok("a.b".to_owned()));
        let refused = read("HTTP/1.1 403 Forbidden\r\n\r\n{\"code\":704}").unwrap_err();
        assert!(refused.contains("403") && refused.contains("704"), "{refused}");
        assert!(read("HTTP/1.1 201").is_err());
    }
}
