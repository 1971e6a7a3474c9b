//! Guests that come and go for as long as they are wanted: a constant load, of which nothing may be left behind.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use rallypoint_client::{Client, Credential, Error, Options, Socket, handshake, tungstenite::Message};
use rallypoint_protocol::{
    Encoding, Position, Request, RoomName, ServerMessage, moves::Lane, request::Resume, server::Connected,
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::seed::Seed;

/// Between two things that a guest does.
const STEP: Duration = Duration::from_millis(500);
/// After a failed attempt.
const PAUSE: Duration = Duration::from_millis(100);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the guests did.
        #[derive(Debug, Default)]
        pub struct Tally {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Tally {
            /// All of it in words.
            pub fn line(&self) -> String {
                let parts = [$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*];
                parts.map(|(name, count)| format!("{count} {name}")).join(", ")
            }
        }
    };
}

tally! {
    /// Sessions made.
    sessions,
    /// Sessions that were resumed whole.
    resumed,
    /// Sessions that were resumed with something lost.
    restored,
    /// Sessions that could not be resumed.
    refused,
    /// Sockets dropped without a goodbye.
    dropped,
    /// Goodbyes.
    goodbyes,
    /// Moves.
    moves,
    /// Things that did not work, mostly since a socket was cut.
    failed,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all guests share.
#[derive(Debug)]
pub struct Churn {
    /// Where they connect.
    pub door: SocketAddr,
    /// The rooms they visit.
    pub rooms: Vec<RoomName>,
    /// What they did.
    pub tally: Tally,
    /// Whether they are to go.
    pub over: watch::Receiver<bool>,
}

impl Churn {
    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// One after the other, guests that use the Rust client.
    pub async fn clients(self: Arc<Self>, token: String, mut seed: Seed) {
        while !self.is_over() {
            if self.client(&token, &mut seed).await.is_err() {
                Tally::count(&self.tally.failed);
                sleep(PAUSE).await;
            }
        }
    }

    async fn client(&self, token: &str, seed: &mut Seed) -> Result<(), Error> {
        let encoding = if seed.percent(50) { Encoding::MsgPack } else { Encoding::Json };
        let options = Options { encoding, timeout: PATIENCE, ..Options::new(format!("http://{}", self.door), token) };
        let (client, mut events) = Client::connect(options).await?;
        Tally::count(&self.tally.sessions);
        let reading = tokio::spawn(async move { while events.recv().await.is_some() {} });
        let visited = self.visit(&client, seed).await;
        if seed.percent(70) && visited.is_ok() {
            _ = client.close().await;
            Tally::count(&self.tally.goodbyes);
        } else {
            Tally::count(&self.tally.dropped);
        }
        reading.abort();
        visited
    }

    async fn visit(&self, client: &Client, seed: &mut Seed) -> Result<(), Error> {
        let room = seed.pick(&self.rooms);
        client.join(room, None).await?;
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for step in 0..4 + seed.below(20) {
            steps.tick().await;
            if self.is_over() {
                break;
            }
            for lane in [Lane::Latest, Lane::Reliable] {
                client.send_move(room, 0, None, &json!({ "x": step }), lane, None).await?;
                Tally::count(&self.tally.moves);
            }
            if step % 4 == 0 {
                client.say(room, format!("step {step}")).await?;
            }
        }
        if seed.percent(50) { client.leave(room).await } else { Ok(()) }
    }

    /// One after the other, guests on a raw socket, which lose it on purpose and come back or not.
    pub async fn sockets(self: Arc<Self>, token: String, mut seed: Seed) {
        while !self.is_over() {
            let visited = timeout(PATIENCE * 2, self.socket(&token, &mut seed)).await;
            if !matches!(visited, Ok(Ok(()))) {
                Tally::count(&self.tally.failed);
                sleep(PAUSE).await;
            }
        }
    }

    async fn socket(&self, token: &str, seed: &mut Seed) -> io::Result<()> {
        let auth = Request::Auth { token: token.to_owned(), notifications_since: None };
        let (mut socket, connected) = self.open(&auth).await?;
        Tally::count(&self.tally.sessions);
        let room = seed.pick(&self.rooms);
        say(&mut socket, &Request::Join { id: 1, room: room.clone(), since: None }).await?;
        let position = loop {
            if let ServerMessage::Joined(joined) = hear(&mut socket).await? {
                break joined.position;
            }
        };
        self.stay(&mut socket, seed).await?;
        if seed.percent(70) {
            drop(socket);
            Tally::count(&self.tally.dropped);
            if seed.percent(50) {
                self.come_back(token, room, position, connected, seed).await?;
            }
        } else {
            goodbye(socket).await?;
            Tally::count(&self.tally.goodbyes);
        }
        Ok(())
    }

    async fn come_back(
        &self,
        token: &str,
        room: &RoomName,
        position: Position,
        connected: Connected,
        seed: &mut Seed,
    ) -> io::Result<()> {
        let Some(resume) = connected.resume else { return Ok(()) };
        let (positions, jwt) = ([(room.clone(), position)].into(), Some(token.to_owned()));
        // It has not counted: whatever is claimed, the server must be able to cope with it.
        let received = seed.below(3);
        let resume = Resume { token: resume, received, positions, watched: Vec::new(), jwt, notifications_since: None };
        let Ok((mut socket, again)) = self.open(&Request::Resume(Box::new(resume))).await else {
            Tally::count(&self.tally.refused);
            return Ok(());
        };
        Tally::count(if again.resumed { &self.tally.resumed } else { &self.tally.restored });
        self.stay(&mut socket, seed).await?;
        if seed.percent(50) {
            goodbye(socket).await?;
            Tally::count(&self.tally.goodbyes);
        } else {
            Tally::count(&self.tally.dropped);
        }
        Ok(())
    }

    async fn open(&self, first: &Request) -> io::Result<(Socket, Connected)> {
        let options = Options {
            encoding: Encoding::Json,
            credential: Credential::None,
            timeout: PATIENCE,
            ..Options::new(format!("http://{}", self.door), "")
        };
        let mut socket = handshake(&options).await.map_err(io::Error::other)?;
        say(&mut socket, first).await?;
        loop {
            if let ServerMessage::Connected(connected) = hear(&mut socket).await? {
                return Ok((socket, connected));
            }
        }
    }

    /// Listens for a while, and says something now and then.
    async fn stay(&self, socket: &mut Socket, seed: &mut Seed) -> io::Result<()> {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = 2 + seed.below(12);
        while left > 0 && !self.is_over() {
            tokio::select! {
                heard = hear(socket) => { heard?; }
                _ = steps.tick() => {
                    left -= 1;
                    say(socket, &Request::Ping { id: None, t: None }).await?;
                }
            }
        }
        Ok(())
    }
}

async fn say(socket: &mut Socket, request: &Request) -> io::Result<()> {
    let text = String::from_utf8(request.encode(Encoding::Json)).unwrap_or_default();
    socket.send(Message::text(text)).await.map_err(io::Error::other)
}

/// The next message.
async fn hear(socket: &mut Socket) -> io::Result<ServerMessage> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                if let Ok(message) = ServerMessage::decode(Encoding::Json, text.as_bytes()) {
                    return Ok(message);
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(io::Error::other(format!("closed: {code}")));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Close 1000, which ends the session, and waits for the other side.
async fn goodbye(mut socket: Socket) -> io::Result<()> {
    let frame = rallypoint_client::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
    socket.send(Message::Close(Some(frame))).await.map_err(io::Error::other)?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
