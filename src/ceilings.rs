//! Ceilings on connections: in all and from one address. A place is given back when it is dropped.

use std::{net::IpAddr, sync::Arc};

use dashmap::DashMap;
use parking_lot::Mutex;
use rallypoint_protocol::code::ErrorCode;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{config::Limits, metrics::Metrics};

/// Descriptors that are not for guests: logs, listeners, key files.
const SPARE_DESCRIPTORS: u64 = 64;

/// How many connections there may be, in all and from one address.
pub struct Ceilings {
    max: usize,
    max_per_ip: usize,
    open: Mutex<usize>,
    by_ip: DashMap<IpAddr, usize>,
    empty: tokio::sync::Notify,
    metrics: Arc<Metrics>,
}

impl Ceilings {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let descriptors = raise_descriptors();
        let max = limits
            .connections
            .min(usize::try_from(descriptors.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX));
        tracing::info!(descriptors, connections = max, "ceilings");
        let (open, by_ip, empty) = (Mutex::new(0), DashMap::new(), tokio::sync::Notify::new());
        Self { max, max_per_ip: limits.connections_per_ip, open, by_ip, empty, metrics }
    }

    /// A place for a connection from this address.
    pub(crate) fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Arc<Place>, ErrorCode> {
        let refuse = || {
            self.metrics.refuse(ErrorCode::TooManyConnections);
            Err(ErrorCode::TooManyConnections)
        };
        let mut open = self.open.lock();
        if *open >= self.max {
            return refuse();
        }
        {
            let mut of_ip = self.by_ip.entry(ip).or_insert(0);
            if *of_ip >= self.max_per_ip {
                return refuse();
            }
            *of_ip += 1;
        }
        *open += 1;
        self.metrics.sockets.inc();
        Ok(Arc::new(Place { ceilings: self.clone(), ip }))
    }

    /// Waits until nobody is here.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            if *self.open.lock() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// A connection's place under the ceilings, given back when it is dropped. It goes along when a
/// connection is upgraded.
pub struct Place {
    ceilings: Arc<Ceilings>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.ceilings.open.lock();
        if let Some(mut of_ip) = self.ceilings.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
        }
        self.ceilings.by_ip.remove_if(&self.ip, |_, of_ip| *of_ip == 0);
        *open -= 1;
        self.ceilings.metrics.sockets.dec();
        if *open == 0 {
            self.ceilings.empty.notify_waiters();
        }
    }
}

/// Raises the soft limit of descriptors to the hard one; returns what there is.
fn raise_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of descriptors stays where it is");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
