//! Carries plain connections on over TLS: whoever speaks none is heard over it all the same, and what happens to the one
//! side happens to the other.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsConnector;

use super::reset;
use crate::certificate::server_name;

/// A running bridge. Dropping it drops its connections.
pub struct Bridge {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Bridge {
    /// Listens on a free port of loopback and carries connections to `target`.
    pub async fn start(target: SocketAddr, connector: TlsConnector) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((client, _)) = accepted {
                            connections.spawn(carry(client, target, connector.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, accepting })
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, connector: TlsConnector) {
    let connect = async {
        let server = TcpStream::connect(target).await?;
        _ = (client.set_nodelay(true), server.set_nodelay(true));
        connector.connect(server_name(), server).await
    };
    let Ok(mut server) = connect.await else { return reset(client) };
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        reset(client);
        reset(server.into_inner().0);
    }
}
