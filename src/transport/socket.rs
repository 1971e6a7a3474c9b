//! What the transports do with a TCP socket: read into the buffer that a thread's connections share, write with one
//! call, and close without losing what was written last.

use std::{cell::RefCell, io};

use rustix::net::{RecvFlags, SendFlags};
use tokio::{io::Interest, net::TcpStream};

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
