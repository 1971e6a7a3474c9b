//! What the transports do with a socket: read into the buffer that a thread's connections share, write with one call, and
//! close without losing what was written last. A [`Socket`] may speak TLS; the feeds write to a plain one only, since over
//! TLS it is hyper that does it for them.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, SendFlags};
use tokio::{io::Interest, net::TcpStream};

use super::tls::Tls;
use crate::hub::link::Carrier;

/// One read takes at most this much; the buffer belongs to the thread, not to the connection.
const READ_MAX: usize = 64 * 1024;
/// How long a closed connection may take to say its own goodbye.
const LINGER_MS: u64 = 1000;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into_boxed_slice());
}

/// Reads what has come into the thread's buffer and has it taken in; nothing is the end of the stream. A buffer that was
/// not filled has emptied the socket, so tokio is not made to ask for more only to hear that there is none.
pub(crate) fn read(socket: &TcpStream, take: impl FnOnce(&mut [u8])) -> io::Result<()> {
    with_buffer(|buffer| {
        let mut read = None;
        let asked = socket.try_io(Interest::READABLE, || {
            let (_, len) = rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
            read = Some(len);
            if (1..buffer.len()).contains(&len) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            Some(len) => take(&mut buffer[..len]),
            None => asked?,
        }
        Ok(())
    })
}

/// Lends the thread's read buffer. Nothing that is called with it may ask for it again.
fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| read(buffer))
}

impl Carrier for TcpStream {
    /// Asks the kernel at once: what tokio knows of the socket is out of date as soon as its owner has not looked. Only a
    /// refusal goes through tokio, which has to learn of it to wake the owner.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(self, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Self::try_write(self, bytes),
            sent => Ok(sent?),
        }
    }
}

/// The socket of a WebSocket.
pub(crate) enum Socket {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<Tls>),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl Socket {
    /// Whether there may be something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Tls(tls) => tls.poll_read_ready(cx),
        }
    }

    /// Whether the kernel may take something.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Reads as [`read`] does.
    pub(crate) fn read(&self, take: impl FnOnce(&mut [u8])) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => read(tcp, take),
            Self::Tls(tls) => with_buffer(|buffer| {
                let len = tls.read(buffer)?;
                take(&mut buffer[..len]);
                Ok(())
            }),
        }
    }

    /// Tells the other end that no more comes. A plain socket says it by closing.
    pub(crate) fn say_goodbye(&self) {
        if let Self::Tls(tls) = self {
            tls.say_goodbye();
        }
    }

    /// Closes as [`linger`] does.
    pub(crate) async fn linger(&self) {
        linger(self.tcp()).await;
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
        }
    }
}

impl Carrier for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => Carrier::try_write(tcp, bytes),
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.try_flush(),
        }
    }

    fn is_its_owners(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Unread bytes at the close of a socket make the kernel reset the connection, and the peer would
/// lose the close frame: read on for a moment, up to the peer's own goodbye.
pub(crate) async fn linger(socket: &TcpStream) {
    _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
    let drain = async {
        let mut left: usize = 1 << 20;
        while left > 0 && socket.readable().await.is_ok() {
            let read = with_buffer(|buffer| socket.try_read(buffer));
            match read {
                Ok(len) if len > 0 => left = left.saturating_sub(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    };
    _ = tokio::time::timeout(std::time::Duration::from_millis(LINGER_MS), drain).await;
}
