//! Connections in bursts, broken off with a reset: as many as the door lets in, the others told why not.

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use super::{
    doors::told,
    ground::{Ground, Report},
};
use crate::run::wire::reset;

/// Connections in all, in bursts of so many at once.
const CONNECTS: usize = 18_000;
const BURST: usize = 500;
/// How long a burst stands before it is broken off, so that those turned away hear it.
const STANDS: Duration = Duration::from_millis(20);

/// Thousands of connections from sixteen addresses.
pub async fn bursts(ground: Arc<Ground>) -> io::Result<Report> {
    let refused =
        async |code: u16| Ok::<_, io::Error>(ground.gauges().await?.of(&format!("refused_total{{code=\"{code}\"}}")));
    let codes = [900, 903, 904];
    let mut before = Vec::new();
    for code in codes {
        before.push(refused(code).await?);
    }
    let mut report = Report::default();
    for burst in 0..CONNECTS / BURST {
        let mut knocking = JoinSet::new();
        for number in 0..BURST {
            let ground = Arc::clone(&ground);
            knocking.spawn(async move { ground.knock(burst * BURST + number).await });
        }
        let knocks = knocking.join_all().await;
        sleep(STANDS).await;
        for knock in knocks {
            let Ok(socket) = knock else {
                report.saw("not even connected", 1);
                continue;
            };
            report.saw(heard(&socket), 1);
            reset(socket)?;
        }
    }
    for (code, before) in codes.into_iter().zip(before) {
        let told: u64 = report.seen.iter().filter(|(what, _)| what.ends_with(&code.to_string())).map(|(_, n)| n).sum();
        let counted = refused(code).await? - before;
        report.must(counted >= told as f64, || format!("{told} were told {code}, but {counted} counted"));
    }
    let limited = report.count("429, 900") + report.count("503, 904");
    report.must(limited > 0, || "nobody was turned away".to_owned());
    // Whoever had to wait for the rest of its burst may have been let in and sat out the deadline.
    Ok(report.only(&["let in", "closed in silence", "429, 900", "429, 903", "503, 904"]))
}

/// What stands in the socket, without waiting: nothing for who was let in and asks nothing.
fn heard(socket: &TcpStream) -> String {
    let mut answer = [0; 2048];
    match socket.try_read(&mut answer) {
        Ok(length) if length > 0 => told(&answer[..length]),
        Ok(_) => "closed in silence".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => "let in".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}
