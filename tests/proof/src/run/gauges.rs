//! What a server says of itself at `/metrics`, and what the system says of its process.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use super::http::{Request, once};

/// Numbers by name and labels, without the prefix `rallypoint_`.
#[derive(Clone, Debug, Default)]
pub struct Gauges(BTreeMap<String, f64>);

impl Gauges {
    /// Asks a server that runs with `--dev`.
    pub async fn read(address: SocketAddr) -> io::Result<Self> {
        let answer = once(address, &Request::get("/metrics"), Duration::from_secs(10)).await?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("/metrics answers {}", answer.status)));
        }
        Ok(Self::parse(&String::from_utf8_lossy(&answer.body)))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let number = |(name, value): (&str, &str)| {
            Some((name.strip_prefix("rallypoint_").unwrap_or(name).to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(number).collect())
    }

    /// A gauge; 0 where the server has none of this name.
    pub fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Open WebSockets.
    pub fn websockets(&self) -> f64 {
        self.of("connections{transport=\"websocket\"}")
    }

    /// Sessions that have a socket.
    pub fn present(&self) -> f64 {
        self.of("sessions") - self.of("sessions_lost")
    }
}

/// Resident bytes of a process.
pub fn resident(pid: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The slope of the straight line through points (least squares); 0 for fewer than two.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count.max(1.0);
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_read_by_name_and_label() {
        let text = "# HELP rallypoint_sessions Sessions.\nrallypoint_sessions 7\nrallypoint_sessions_lost 2\n\
                    rallypoint_connections{transport=\"websocket\"} 5\n# EOF\n";
        let gauges = Gauges::parse(text);
        assert_eq!((gauges.websockets(), gauges.present(), gauges.of("rooms")), (5.0, 5.0, 0.0));
    }

    #[test]
    fn a_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 3.0), (1.0, 5.0), (2.0, 7.0)]), 2.0);
        assert_eq!((slope(&[]), slope(&[(1.0, 2.0)])), (0.0, 0.0));
        assert!(slope(&[(0.0, 5.0), (1.0, 5.1), (2.0, 4.9), (3.0, 5.0)]).abs() < 0.05);
        assert!(resident(std::process::id()).unwrap() > 0.0);
    }
}
