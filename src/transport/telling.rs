//! Streams of events for operators: who reads one, for how long, and how it goes out on both ways in.

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::Stream;
use rallypoint_protocol::{ErrorCode, codec::Refused, event::Millis};
use tokio::{net::TcpStream, time::sleep_until};

use super::{
    Ear, Open, send,
    socket::linger,
    sse::{self, LAST_CHUNK, chunk},
};
use crate::{
    auth::Grant,
    ceilings::Place,
    hub::{Hub, feeds::Onlooker},
    metrics::Transport,
};

/// What a reader is told next.
pub(crate) enum Told {
    Events(Bytes),
    /// Why it ends.
    End(Vec<u8>),
}

/// Somebody who is told things, block by block.
pub(crate) trait Telling: Send + 'static {
    /// The first block.
    fn greeting(&self) -> Vec<u8>;

    /// Waits for something that was not told yet. A reader whose turn is dropped is not asked again.
    fn next(&mut self) -> impl Future<Output = Told> + Send;

    /// How long it may take nothing.
    fn stalled(&self) -> Duration;
}

/// One who reads: it has one of its user's places, and ends as the user's feeds do, and with its token.
pub(crate) struct Visit {
    hub: Arc<Hub>,
    place: Onlooker,
    /// When the token no longer carries it.
    until: Option<Millis>,
    _open: Open,
    /// Its place under the ceilings, given back with the stream.
    _seat: Option<Arc<Place>>,
}

impl Visit {
    /// Without a grant it is one of those whom nobody asked for a token.
    pub(crate) fn begin(
        hub: &Arc<Hub>,
        grant: Option<&Grant>,
        transport: Transport,
        seat: Option<Arc<Place>>,
    ) -> Result<Self, Refused> {
        let place = Onlooker::enter(hub, grant.map(|grant| &grant.user))?;
        let until = grant.map(|grant| Millis(grant.expires_at_ms).after(hub.limits().expiry_grace_ms));
        let open = Open::new(hub.metrics().open(transport));
        Ok(Self { hub: hub.clone(), place, until, _open: open, _seat: seat })
    }

    /// The node that is visited.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Waits until it is to end, and tells why.
    pub(crate) async fn ended(&self) -> ErrorCode {
        let expired = async {
            match self.until {
                Some(until) => sleep_until(self.hub.clock().instant(until).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            code = self.place.ended() => code,
            () = expired => ErrorCode::TokenExpired,
        }
    }

    /// The last block.
    pub(crate) fn farewell(&self, code: ErrorCode) -> Told {
        let mut end = Vec::new();
        sse::farewell(&mut end, code, &self.hub);
        Told::End(end)
    }

    /// How long it may take nothing.
    pub(crate) fn stalled(&self) -> Duration {
        Duration::from_millis(self.hub.limits().stalled_ms)
    }
}

/// Runs the stream over a socket, as chunks after `head`, that of the answer.
pub(crate) async fn serve(socket: TcpStream, head: Vec<u8>, mut reader: impl Telling) {
    let mut out = head;
    chunk(&mut out, |out| out.extend(reader.greeting()));
    let mut ear = Ear::default();
    while send(&socket, &out, reader.stalled()).await {
        out.clear();
        let told = tokio::select! {
            () = poll_fn(|cx| ear.poll_gone(&socket, cx)) => break,
            told = reader.next() => told,
        };
        match told {
            Told::Events(events) => chunk(&mut out, |out| out.extend_from_slice(&events)),
            Told::End(end) => {
                chunk(&mut out, |out| out.extend(end));
                out.extend_from_slice(LAST_CHUNK);
                if send(&socket, &out, reader.stalled()).await {
                    linger(&socket).await;
                }
                break;
            }
        }
    }
}

/// Runs the stream as a body that hyper sends.
pub(crate) fn stream(
    mut reader: impl Telling,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync + 'static {
    sse::body(reader.stalled(), |chunks| async move {
        let mut out = reader.greeting().into();
        while chunks.send(out).await {
            let told = tokio::select! {
                () = chunks.closed() => return,
                told = reader.next() => told,
            };
            match told {
                Told::Events(events) => out = events,
                Told::End(end) => {
                    chunks.send(end.into()).await;
                    return;
                }
            }
        }
    })
}
