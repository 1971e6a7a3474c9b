//! Somebody who receives webhooks: checks each delivery as the specification says, and answers as the test wants it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rallypoint::config::{Config, WebhookConfig};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::support::{judge_webhook, until};

/// 32 bytes.
pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfm+6tH0Lg=";

/// A delivery that had a good signature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) body: Value,
    /// What it was answered.
    pub(super) status: u16,
}

impl Delivery {
    /// The event, its room and its peer's user in one word, for comparisons.
    pub(super) fn told(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let Value::Object(body) = &self.body else { panic!("a map, not {}", self.body) };
        let user = body.get("peer").map_or("-".to_owned(), |peer| text(&peer["user"]));
        format!("{} {} {user}", text(&body["event"]), body.get("room").map_or("-".to_owned(), text))
    }
}

type Answer = Box<dyn FnMut(&Delivery) -> u16 + Send>;

/// A server that is there or not.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    seen: Mutex<Vec<Delivery>>,
    answer: Mutex<Answer>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Receiver {
    /// One that does not listen yet.
    pub(super) async fn asleep() -> Arc<Self> {
        // The port is its own once it was bound; nobody else is given it for a while.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let answer: Answer = Box::new(|_| 204);
        Arc::new(Self { address, seen: Mutex::default(), answer: Mutex::new(answer), tasks: Mutex::default() })
    }

    pub(super) async fn start() -> Arc<Self> {
        let receiver = Self::asleep().await;
        receiver.wake().await;
        receiver
    }

    /// Begins to listen.
    pub(super) async fn wake(self: &Arc<Self>) {
        let listener = TcpListener::bind(self.address).await.expect("the port is still free");
        let own = self.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let task = tokio::spawn(own.clone().serve(socket)).abort_handle();
                own.tasks.lock().unwrap().push(task);
            }
        });
        self.tasks.lock().unwrap().push(task.abort_handle());
    }

    /// Decides what deliveries are answered; each has been written down before.
    pub(super) fn answers(&self, answer: impl FnMut(&Delivery) -> u16 + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// All that came, in the order in which it came.
    pub(super) fn seen(&self) -> Vec<Delivery> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for so many deliveries that were taken.
    pub(super) async fn took(&self, count: usize) -> Vec<Delivery> {
        let taken = || self.seen().into_iter().filter(|delivery| delivery.status < 300).collect::<Vec<_>>();
        until("deliveries", async || Some(taken()).filter(|taken| taken.len() >= count)).await
    }

    async fn serve(self: Arc<Self>, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        while let Some((headers, body)) = read(&mut socket).await {
            let header = |name: &str| {
                headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
            let status = if signed(&id, &timestamp, &body) == header("webhook-signature") {
                assert_eq!(header("content-type"), "application/json");
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(body["id"], id);
                judge_webhook(&body);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                assert!(now.abs_diff(timestamp.parse().unwrap()) < 60, "the moment of the try, not of the event");
                let mut delivery = Delivery { id, body, status: 0 };
                delivery.status = self.answer.lock().unwrap()(&delivery);
                let status = delivery.status;
                self.seen.lock().unwrap().push(delivery);
                status
            } else {
                401
            };
            let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nok");
            let answer = if status == 204 { "HTTP/1.1 204 No Content\r\n\r\n".to_owned() } else { answer };
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.tasks.get_mut().unwrap().iter().for_each(AbortHandle::abort);
    }
}

/// The signature as Standard Webhooks has it, written once more.
pub(super) fn signed(id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    format!("v1,{}", STANDARD.encode(tag))
}

/// A request: its headers and its body; `None` at the end.
async fn read(socket: &mut BufReader<TcpStream>) -> Option<(Vec<(String, String)>, Vec<u8>)> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        } else {
            assert!(line.starts_with("POST /hooks?of=game HTTP/1.1"), "{line}");
        }
    }
    let len = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; len];
    socket.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}

/// A hook to an address, with the patience of a test.
pub(super) fn hook(address: SocketAddr, rooms: &[&str]) -> WebhookConfig {
    WebhookConfig {
        url: format!("http://{address}/hooks?of=game"),
        name: Some("game".to_owned()),
        secret: Some(rallypoint::auth::Secret(SECRET.to_owned())),
        secret_file: None,
        events: rallypoint::webhooks::EVENTS.map(str::to_owned).into(),
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        queue_events: 10_000,
        queue_bytes: 1 << 20,
        concurrency: 8,
        retry_ms: 10,
        retry_max_ms: 50,
        give_up_ms: 3_600_000,
    }
}

/// A change of the configuration that adds a hook.
pub(super) fn hooked(hook: WebhookConfig) -> impl FnOnce(&mut Config) {
    |config| config.webhooks.push(hook)
}
