//! Ceilings on connections, in all and from one address, and on how fast they come. A place is
//! given back when it is dropped.

use std::{net::IpAddr, sync::Arc};

use dashmap::DashMap;
use parking_lot::Mutex;
use rallypoint_protocol::{code::ErrorCode, event::Millis};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    audit::Caller,
    config::Limits,
    metrics::Metrics,
    pace::Pace,
    session::limits::{Bucket, Rate},
};

/// Descriptors that are not for guests: logs, listeners, key files.
const SPARE_DESCRIPTORS: u64 = 64;
/// Connections to the port for metrics; they take spare descriptors.
const OPERATOR_CONNECTIONS: usize = 16;

/// How many connections there may be, in all and from one address.
pub struct Ceilings {
    max: usize,
    max_per_ip: usize,
    accepts: Rate,
    door: Mutex<Door>,
    by_ip: DashMap<IpAddr, usize>,
    accepts_of_ip: Pace<IpAddr>,
    empty: tokio::sync::Notify,
    metrics: Arc<Metrics>,
}

struct Door {
    open: usize,
    bucket: Bucket,
}

/// Why somebody is turned away at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    pub(crate) code: ErrorCode,
    /// Which limit, as the configuration calls it.
    pub(crate) limit: &'static str,
    /// Milliseconds until it may work.
    pub(crate) wait: u64,
}

impl TurnedAway {
    /// That of the node is no fault of the guest's.
    fn full(code: ErrorCode, limit: &'static str) -> Self {
        Self { code, limit, wait: FULL_MS }
    }
}

/// How long to wait for somebody else to leave.
const FULL_MS: u64 = 1000;

impl Ceilings {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>, now: Millis) -> Self {
        let descriptors = raise_descriptors();
        let max = limits
            .connections
            .min(usize::try_from(descriptors.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(usize::MAX));
        tracing::info!(descriptors, connections = max, "ceilings");
        metrics.connections_max.set(i64::try_from(max).unwrap_or(i64::MAX));
        let accepts = Rate { per_second: limits.accepts_per_second, burst: limits.accepts_burst };
        Self {
            max,
            max_per_ip: limits.connections_per_ip,
            accepts,
            door: Mutex::new(Door { open: 0, bucket: Bucket::full(accepts, now) }),
            by_ip: DashMap::new(),
            accepts_of_ip: Pace::new(limits.accepts_per_second_per_ip, limits.accepts_burst_per_ip),
            empty: tokio::sync::Notify::new(),
            metrics,
        }
    }

    /// For a port of the operator's own, which is reached when the guests' is full.
    pub(crate) fn of_operator(metrics: Arc<Metrics>, now: Millis) -> Self {
        let rate = Rate { per_second: OPERATOR_CONNECTIONS as f64, burst: OPERATOR_CONNECTIONS as f64 };
        Self {
            max: OPERATOR_CONNECTIONS,
            max_per_ip: OPERATOR_CONNECTIONS,
            accepts: rate,
            door: Mutex::new(Door { open: 0, bucket: Bucket::full(rate, now) }),
            by_ip: DashMap::new(),
            accepts_of_ip: Pace::new(rate.per_second, rate.burst),
            empty: tokio::sync::Notify::new(),
            metrics,
        }
    }

    /// A place for a connection from this address; from none if it is a proxy's, where each guest has one of its own.
    pub(crate) fn enter(self: &Arc<Self>, ip: Option<IpAddr>, now: Millis) -> Result<Arc<Place>, TurnedAway> {
        let entered = self.try_enter(ip, now);
        if let Err(TurnedAway { code, limit, .. }) = entered {
            self.metrics.refuse(code);
            self.metrics.limited(limit);
        }
        entered
    }

    fn try_enter(self: &Arc<Self>, ip: Option<IpAddr>, now: Millis) -> Result<Arc<Place>, TurnedAway> {
        // Whoever knocks too often is counted before all others, so that it cannot use up their share.
        let of_ip = ip.map_or(Ok(()), |ip| self.accepts_of_ip.take(&ip, now));
        of_ip.map_err(|wait| TurnedAway { code: ErrorCode::RateLimited, limit: "accepts_per_second_per_ip", wait })?;
        let mut door = self.door.lock();
        if door.open >= self.max {
            return Err(TurnedAway::full(ErrorCode::Overloaded, "connections"));
        }
        let taken = door.bucket.take(1.0, self.accepts, now);
        taken.map_err(|wait| TurnedAway { code: ErrorCode::Overloaded, limit: "accepts_per_second", wait })?;
        ip.map_or(Ok(()), |ip| self.count(ip))?;
        door.open += 1;
        self.metrics.sockets.inc();
        Ok(Arc::new(Place { ceilings: self.clone(), ip, socket: None, caller: None }))
    }

    /// Counts one more from this address, if there may be.
    fn count(&self, ip: IpAddr) -> Result<(), TurnedAway> {
        let mut of_ip = self.by_ip.entry(ip).or_insert(0);
        if *of_ip >= self.max_per_ip {
            return Err(TurnedAway::full(ErrorCode::TooManyConnections, "connections_per_ip"));
        }
        *of_ip += 1;
        Ok(())
    }

    /// Waits until nobody is here.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            if self.door.lock().open == 0 {
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
    /// Which address it counts for.
    ip: Option<IpAddr>,
    /// The place that this one goes with: that of the proxy's connection, if this is a guest's behind one.
    socket: Option<Arc<Self>>,
    /// Who asked for what the place is for, where somebody wants to know.
    caller: Option<Arc<Caller>>,
}

impl Place {
    /// A place for a guest of this address behind the proxy whose place this is.
    pub(crate) fn behind(self: &Arc<Self>, ip: IpAddr) -> Result<Arc<Self>, TurnedAway> {
        self.ceilings.count(ip)?;
        let ceilings = self.ceilings.clone();
        Ok(Arc::new(Self { ceilings, ip: Some(ip), socket: Some(self.clone()), caller: None }))
    }

    /// The same place, and who asked for what it is for.
    pub(crate) fn of(self: &Arc<Self>, caller: Arc<Caller>) -> Arc<Self> {
        Arc::new(Self { ceilings: self.ceilings.clone(), ip: None, socket: Some(self.clone()), caller: Some(caller) })
    }

    /// Who asked for what the place is for.
    pub(crate) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ip) = &self.ip {
            if let Some(mut of_ip) = self.ceilings.by_ip.get_mut(ip) {
                *of_ip -= 1;
            }
            self.ceilings.by_ip.remove_if(ip, |_, of_ip| *of_ip == 0);
        }
        // What goes with another place has no socket of its own, and nothing to do at the door.
        if self.socket.is_some() {
            return;
        }
        let mut door = self.ceilings.door.lock();
        door.open -= 1;
        self.ceilings.metrics.sockets.dec();
        if door.open == 0 {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ceilings(change: impl FnOnce(&mut Limits)) -> Arc<Ceilings> {
        let mut limits = Limits { connections: 100, connections_per_ip: 100, ..Limits::default() };
        change(&mut limits);
        Arc::new(Ceilings::new(&limits, Arc::new(Metrics::new()), Millis(0.0)))
    }

    fn ip(n: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(127, 0, 0, n).into())
    }

    fn limit(entered: Result<Arc<Place>, TurnedAway>) -> Option<(&'static str, u64)> {
        entered.err().map(|away| (away.limit, away.wait))
    }

    #[test]
    fn a_full_node_is_told_from_a_guest_who_has_too_many() {
        let ceilings = ceilings(|limits| (limits.connections, limits.connections_per_ip) = (2, 1));
        let enter = |n| ceilings.enter(ip(n), Millis(0.0));
        let status = |n| enter(n).map_err(|away| away.code.http_status()).err();
        let _first = enter(1).unwrap();
        assert_eq!(status(1), Some(429));
        let _second = enter(2).unwrap();
        assert_eq!([status(2), status(3)], [Some(503); 2]);
    }

    #[test]
    fn places_are_given_back() {
        let ceilings = ceilings(|limits| (limits.connections, limits.connections_per_ip) = (3, 2));
        let now = Millis(0.0);
        let first = ceilings.enter(ip(1), now).unwrap();
        let _second = ceilings.enter(ip(1), now).unwrap();
        assert_eq!(limit(ceilings.enter(ip(1), now)), Some(("connections_per_ip", FULL_MS)));
        let _third = ceilings.enter(ip(2), now).unwrap();
        assert_eq!(limit(ceilings.enter(ip(3), now)), Some(("connections", FULL_MS)));
        drop(first);
        assert_eq!(limit(ceilings.enter(ip(1), now)), None);
        assert_eq!(ceilings.metrics.sockets.get(), 2, "what was let go is not counted");
    }

    #[test]
    fn guests_behind_a_proxy_are_counted_by_their_own_address() {
        let ceilings = ceilings(|limits| (limits.connections_per_ip, limits.accepts_burst_per_ip) = (2, 1.0));
        let now = Millis(0.0);
        let proxy: Vec<_> = (0..5).map(|_| ceilings.enter(None, now).unwrap()).collect();
        let guest = |n| proxy[0].behind(ip(n).unwrap());
        let first = guest(1).unwrap();
        let _second = guest(1).unwrap();
        assert_eq!(limit(guest(1)), Some(("connections_per_ip", FULL_MS)));
        let other = guest(2).unwrap();
        assert_eq!(ceilings.metrics.sockets.get(), 5, "guests are no sockets");
        drop(first);
        assert_eq!(limit(guest(1)), None);
        drop(proxy);
        assert_eq!(ceilings.metrics.sockets.get(), 1, "a guest holds its proxy's place");
        drop(other);
    }

    #[test]
    fn they_come_so_fast_and_no_faster() {
        let ceilings = ceilings(|limits| {
            (limits.accepts_per_second, limits.accepts_burst) = (10.0, 3.0);
            (limits.accepts_per_second_per_ip, limits.accepts_burst_per_ip) = (1.0, 2.0);
        });
        let knock = |n, ms| limit(ceilings.enter(ip(n), Millis(ms)));
        assert_eq!([knock(1, 0.0), knock(1, 0.0)], [None, None]);
        assert_eq!(knock(1, 0.0), Some(("accepts_per_second_per_ip", 1000)), "one address");
        assert_eq!(knock(2, 0.0), None, "does not use up the others' share");
        assert_eq!(knock(3, 0.0), Some(("accepts_per_second", 100)));
        assert_eq!((knock(3, 100.0), knock(1, 1000.0)), (None, None));
    }
}
