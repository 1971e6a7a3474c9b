//! The socket of a WebSocket over TLS. Only the task that owns the connection writes to it: what others flush waits for
//! that task, so that nobody encrypts for a thousand receivers in a row.

use std::{
    io::{self, Read as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::{rustls::ServerConnection, server::TlsStream};

/// A TCP socket and the TLS session on it (RFC 8446).
pub(crate) struct Tls {
    pub(super) tcp: TcpStream,
    session: Mutex<ServerConnection>,
    /// There is more to read than the socket tells of: the session holds plain text, or its end.
    unread: AtomicBool,
}

impl Tls {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        let (tcp, session) = stream.into_inner();
        // Whoever read from it before may have left something in the session.
        Self { tcp, session: Mutex::new(session), unread: AtomicBool::new(true) }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unread.load(Ordering::Relaxed) { Poll::Ready(Ok(())) } else { self.tcp.poll_read_ready(cx) }
    }

    /// Reads plain text, at most what the buffer holds; nothing is the end of the stream.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let session = &mut *self.session.lock();
        let (mut filled, mut more) = (0, false);
        loop {
            if filled == buffer.len() {
                more = true;
                break;
            }
            match session.reader().read(&mut buffer[filled..]) {
                Ok(0) => {
                    more = filled > 0;
                    break;
                }
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match session.read_tls(&mut Wire(&self.tcp))
                {
                    Ok(_) => {
                        if let Err(fault) = session.process_new_packets() {
                            // The alert that says why.
                            _ = send_records(session, &self.tcp);
                            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
                    Err(error) => {
                        self.unread.store(false, Ordering::Relaxed);
                        return Err(error);
                    }
                },
                // The end of the socket without a goodbye (RFC 8446 section 6.1) is the end all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    more = filled > 0;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.unread.store(more, Ordering::Relaxed);
        // An answer of TLS itself, to a new key of the peer's for one; if it does not fit it goes out with what comes next.
        _ = send_records(session, &self.tcp);
        Ok(filled)
    }

    /// Takes plain text and sends what the kernel takes of it. Only [`try_flush`](Self::try_flush) tells that all is out.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let session = &mut *self.session.lock();
        // Nothing new before what waits: the session would hold all of it.
        send_records(session, &self.tcp)?;
        session.writer().write(bytes)
    }

    /// Sends what was taken.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        send_records(&mut self.session.lock(), &self.tcp)
    }

    /// Says goodbye (RFC 8446 section 6.1).
    pub(super) fn say_goodbye(&self) {
        let session = &mut *self.session.lock();
        session.send_close_notify();
        _ = send_records(session, &self.tcp);
    }
}

fn send_records(session: &mut ServerConnection, tcp: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut Wire(tcp))?;
    }
    Ok(())
}

/// The TCP socket as the session reads and writes it: without waiting.
struct Wire<'a>(&'a TcpStream);

impl io::Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
