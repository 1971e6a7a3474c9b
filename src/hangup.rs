//! SIGHUP, by which an operator has files looked at again: one listener for everybody who looks.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Hears of each SIGHUP; every clone does.
#[derive(Clone)]
pub(crate) struct Hangup(watch::Receiver<()>);

impl Hangup {
    /// Begins to listen. From now on the signal does not end the process, as it would by default.
    pub(crate) fn listen() -> Self {
        let (tell, told) = watch::channel(());
        match signal(SignalKind::hangup()) {
            Ok(mut hangups) => {
                let listen = async move { while hangups.recv().await.is_some() && tell.send(()).is_ok() {} };
                tokio::spawn(listen);
            }
            Err(error) => tracing::warn!(%error, "SIGHUP cannot be listened to"),
        }
        Self(told)
    }

    /// Waits for the next one; several that come together are one.
    pub(crate) async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
