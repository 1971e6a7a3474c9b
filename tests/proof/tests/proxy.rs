//! Every fault of the proxy, against plain peers.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rallypoint_proof::proxy::{Accident, Cut, Duplicate, Fault, Plan, Proxy, Way};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// What one connection of a peer has received, told when it ends.
#[derive(Debug, PartialEq)]
struct Heard {
    bytes: Vec<u8>,
    reset: bool,
}

/// A server that sends back what comes in, and tells what came in on each connection.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<Heard>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                let reset = loop {
                    match socket.read(&mut buffer).await {
                        Ok(0) => break false,
                        Ok(len) => {
                            bytes.extend_from_slice(&buffer[..len]);
                            // A reset is told once: to the writer, if it comes first.
                            if socket.write_all(&buffer[..len]).await.is_err() {
                                break true;
                            }
                        }
                        Err(error) => break error.kind() == ErrorKind::ConnectionReset,
                    }
                };
                _ = tell.send(Heard { bytes, reset });
            });
        }
    });
    (address, heard)
}

/// A proxy in which every connection has this plan, and the cuts that it told of.
async fn proxy(target: SocketAddr, plan: Plan) -> (Proxy, Arc<Mutex<Vec<Fault>>>) {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&faults);
    let tell = move |fault| told.lock().unwrap().push(fault);
    (Proxy::start(vec![target], move |_| plan.clone(), tell).await.unwrap(), faults)
}

fn cut(up_at: Option<u64>, down_at: Option<u64>, cut: Cut) -> Plan {
    Plan { accident: Some(Accident { up_at, down_at, cut }), ..Plan::default() }
}

/// Reads to the end: the bytes, and whether the end was a reset.
async fn read_to_end(socket: &mut TcpStream) -> Heard {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match within("the end of a connection", socket.read(&mut buffer)).await {
            Ok(0) => return Heard { bytes, reset: false },
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
            Err(error) => return Heard { bytes, reset: error.kind() == ErrorKind::ConnectionReset },
        }
    }
}

fn numbered(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(u32::to_be_bytes).collect()
}

#[tokio::test]
async fn without_a_plan_everything_passes_and_halves_close_one_by_one() {
    let (server, mut heard) = echo().await;
    let (proxy, faults) = proxy(server, Plan::default()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let bytes = numbered(100_000);
    let (mut read, mut write) = client.split();
    let mut back = Vec::new();
    let (sent, got) = tokio::join!(
        async {
            write.write_all(&bytes).await?;
            write.shutdown().await
        },
        within("the echo", read.read_to_end(&mut back))
    );
    sent.unwrap();
    got.unwrap();
    assert_eq!(back, bytes);
    assert_eq!(heard.recv().await, Some(Heard { bytes, reset: false }));
    assert_eq!((proxy.counts().connections, proxy.counts().cuts()), (1, 0));
    assert!(faults.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_orderly_cut_lets_exactly_so_many_bytes_through() {
    for (up_at, down_at, up, down) in [(Some(1000), None, 1000, None), (None, Some(700), 2000, Some(700))] {
        let (server, mut heard) = echo().await;
        let (proxy, faults) = proxy(server, cut(up_at, down_at, Cut::Fin)).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(&numbered(2000)).await.unwrap();
        let got = read_to_end(&mut client).await;
        assert!(!got.reset);
        if let Some(down) = down {
            assert_eq!(got.bytes, numbered(2000)[..down]);
        }
        let heard = within("the server's side", heard.recv()).await.unwrap();
        assert!(!heard.reset && heard.bytes == numbered(2000)[..up], "{} bytes", heard.bytes.len());
        let fault = Fault { connection: 0, up: up_at.is_some(), cut: Cut::Fin };
        assert_eq!(*faults.lock().unwrap(), [fault]);
        assert_eq!((proxy.counts().fin, proxy.counts().cut_up), (1, u64::from(up_at.is_some())));
    }
}

#[tokio::test]
async fn a_cut_by_reset_is_one_on_both_sides() {
    let (server, mut heard) = echo().await;
    let (proxy, faults) = proxy(server, cut(Some(1000), None, Cut::Rst)).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(&numbered(2000)).await.unwrap();
    assert!(read_to_end(&mut client).await.reset);
    let heard = within("the server's side", heard.recv()).await.unwrap();
    // The kernel may throw away what it had not handed over.
    assert!(heard.reset && heard.bytes.len() <= 1000 && numbered(2000).starts_with(&heard.bytes));
    assert_eq!(*faults.lock().unwrap(), [Fault { connection: 0, up: true, cut: Cut::Rst }]);
    assert_eq!(proxy.counts().rst, 1);
}

#[tokio::test]
async fn a_half_open_connection_is_silent_for_its_time_even_if_the_client_goes() {
    let hold = Duration::from_millis(300);
    let (server, mut heard) = echo().await;
    let (proxy, faults) = proxy(server, cut(Some(1000), None, Cut::HalfOpen { hold })).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(&numbered(2000)).await.unwrap();
    within("the hold", async {
        while faults.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let held = Instant::now();
    // More bytes and a goodbye, none of which the server may learn of.
    client.write_all(b"more").await.unwrap();
    drop(client);
    let heard = within("the server's side", heard.recv()).await.unwrap();
    assert!(held.elapsed() >= hold.mul_f64(0.9), "{:?}", held.elapsed());
    assert!(heard.reset && heard.bytes == numbered(2000)[..1000]);
    assert_eq!(proxy.counts().half_open, 1);
}

#[tokio::test]
async fn delays_and_jitter_keep_the_order() {
    let way = Way { delay: Duration::from_millis(40), jitter: Duration::from_millis(20), throttle: None };
    let plan = Plan { up: way.clone(), down: way, jitter_seed: 7, ..Plan::default() };
    let (server, _heard) = echo().await;
    let (proxy, _) = proxy(server, plan).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let begin = Instant::now();
    let bytes = numbered(400);
    for piece in bytes.chunks(8) {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut back = vec![0; bytes.len()];
    within("the echo", client.read_exact(&mut back)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(80), "{:?}", begin.elapsed());
    assert_eq!(back, bytes);
    assert_eq!(proxy.counts().delayed, 1);
}

#[tokio::test]
async fn a_throttle_takes_its_time() {
    let plan = Plan { down: Way { throttle: Some(40_000), ..Way::default() }, ..Plan::default() };
    let (server, _heard) = echo().await;
    let (proxy, _) = proxy(server, plan).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let begin = Instant::now();
    client.write_all(&numbered(12_000)).await.unwrap();
    let mut back = vec![0; 12_000];
    within("the echo", client.read_exact(&mut back)).await.unwrap();
    // 12 000 bytes at 40 000 a second; the last piece has arrived before its share of the time is over.
    assert!(begin.elapsed() >= Duration::from_millis(250), "{:?}", begin.elapsed());
    assert_eq!((back, proxy.counts().throttled), (numbered(12_000), 1));
}

#[tokio::test]
async fn no_cut_happens_while_faults_are_off() {
    let (server, mut heard) = echo().await;
    let (proxy, faults) = proxy(server, cut(Some(1000), Some(1000), Cut::Rst)).await;
    proxy.arm(false);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let mut back = vec![0; 2000];
    client.write_all(&numbered(2000)).await.unwrap();
    within("the echo", client.read_exact(&mut back)).await.unwrap();
    // Its place has gone by, so it does not come later either.
    proxy.arm(true);
    client.write_all(&numbered(2000)).await.unwrap();
    within("the echo", client.read_exact(&mut back)).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(!read_to_end(&mut client).await.reset);
    assert_eq!(heard.recv().await.map(|heard| heard.bytes.len()), Some(4000));
    assert!(faults.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_first_target_that_is_there_is_taken_and_all_may_be_gone() {
    // A port that was free a moment ago.
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let (first, mut first_heard) = echo().await;
    let (second, _) = echo().await;
    for targets in [vec![first, second], vec![gone, first, second]] {
        let proxy = Proxy::start(targets, |_| Plan::default(), |_| {}).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(b"one").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(within("the server's side", first_heard.recv()).await.unwrap().bytes, b"one");
        assert_eq!((proxy.counts().connections, proxy.counts().refused), (1, 0));
    }
    let (proxy, _) = proxy(gone, Plan::default()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(read_to_end(&mut client).await.reset);
    assert_eq!((proxy.counts().connections, proxy.counts().refused), (1, 1));
}

/// A server of HTTP that answers the how manieth request of all it is, and tells each request with the number of its
/// connection.
async fn counting() -> (SocketAddr, mpsc::UnboundedReceiver<(usize, String)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    let count = Arc::new(Mutex::new(0));
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            connection += 1;
            let (tell, count) = (tell.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let (mut held, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(len @ 1..) = socket.read(&mut buffer).await {
                    held.extend_from_slice(&buffer[..len]);
                    // The requests of these tests all end in their body "ok".
                    while let Some(end) = held.windows(6).position(|six| six == b"\r\n\r\nok") {
                        let request: Vec<_> = held.drain(..end + 6).collect();
                        let answer = {
                            let mut count = count.lock().unwrap();
                            *count += 1;
                            let body = count.to_string();
                            _ = tell.send((connection, String::from_utf8(request).unwrap()));
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                        };
                        _ = socket.write_all(answer.as_bytes()).await;
                    }
                }
            });
        }
    });
    (address, heard)
}

async fn post(client: &mut TcpStream, headers: &str) -> String {
    let request = format!("POST /x HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 2\r\n\r\nok");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1".len()];
    within("an answer", client.read_exact(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()[answer_body()..].to_owned()
}

fn answer_body() -> usize {
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n".len()
}

#[tokio::test]
async fn requests_with_a_key_are_sent_twice_and_answered_once() {
    for duplicate in [Duplicate::Before, Duplicate::Beside] {
        let (server, mut heard) = counting().await;
        let (proxy, _) = proxy(server, Plan { duplicate: Some(duplicate), ..Plan::default() }).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let answer = post(&mut client, "Idempotency-Key: k\r\n").await;
        if duplicate == Duplicate::Before {
            assert_eq!(answer, "2", "the answer to the first is thrown away");
        }
        let (first, second) = (heard.recv().await.unwrap(), within("the copy", heard.recv()).await.unwrap());
        assert_ne!(first.0, second.0, "the copy has a connection of its own");
        assert_eq!(first.1, second.1);
        // Without a key, on the same connection: once. Its number says that nothing came in between.
        assert_eq!(post(&mut client, "").await, "3");
        within("the count", async {
            while proxy.counts().doubled_before + proxy.counts().doubled_beside == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        proxy.arm(false);
        assert_eq!(post(&mut client, "Idempotency-Key: l\r\n").await, "4");
        assert_eq!(post(&mut client, "").await, "5");
    }
}
