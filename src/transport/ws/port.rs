//! Between the socket and the parser: the read buffer that a thread's connections share, and the
//! port through which tungstenite sees bytes already read and writes into the outbox.

use std::{
    cell::RefCell,
    io::{self, IoSlice, Read, Write},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

use crate::hub::link::{Carrier, Link};

/// One read takes at most this much; the buffer belongs to the thread, not to the connection.
const READ_MAX: usize = 64 * 1024;
/// How long a closed connection may take to say its own goodbye.
const LINGER_MS: u64 = 1000;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into_boxed_slice());
}

/// Lends the thread's read buffer. Nothing that is called with it may ask for it again.
pub(super) fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| read(buffer))
}

impl Carrier for TcpStream {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }
}

/// What tungstenite reads from and writes to during one read of the socket.
pub(super) struct Port<'a> {
    unread: &'a [u8],
    link: &'a Arc<Link>,
}

impl<'a> Port<'a> {
    pub(super) fn new(unread: &'a [u8], link: &'a Arc<Link>) -> Self {
        Self { unread, link }
    }
}

impl Read for Port<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.unread.len().min(out.len());
        self.unread.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

impl Write for Port<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.link.push_control(Bytes::copy_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unread bytes at the close of a socket make the kernel reset the connection, and the peer would
/// lose the close frame: read on for a moment, up to the peer's own goodbye.
pub(super) async fn linger(socket: &TcpStream) {
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
