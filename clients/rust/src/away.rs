//! Away: from the loss of a socket until there is the next one, or the end.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rallypoint_protocol::{CloseCode, ErrorCode, code::Action, server::Connected};
use tokio::time::{Instant, sleep_until};

use crate::{
    clock::until,
    connect::Socket,
    error::{Ended, Error},
    token::NoToken,
};

/// How long the first attempt may take; each further one twice as long. One that hangs must not use up the
/// time for which the server keeps the session.
const PATIENCE: Duration = Duration::from_secs(3);

/// The lost connection, and what is being done about it.
pub(crate) struct Away {
    since: Instant,
    give_up_at: Option<Instant>,
    attempts: u32,
    /// Why there is still no connection.
    last: Ended,
    now: Doing,
}

/// One attempt, in its order.
pub(crate) enum Doing {
    Resting(Instant),
    Fetching(BoxFuture<'static, Result<String, NoToken>>),
    Dialing(BoxFuture<'static, Result<(Socket, Connected), Error>>),
}

/// What came of it.
pub(crate) enum Done {
    Rested,
    Fetched(Result<String, NoToken>),
    Dialed(Result<Box<(Socket, Connected)>, Error>),
    /// The time to come back is over.
    TooLate(Ended),
}

impl Away {
    pub(crate) fn new(since: Instant, give_up_after: Option<Duration>, last: Ended, rest: Instant) -> Self {
        let give_up_at = give_up_after.and_then(|after| since.checked_add(after));
        Self { since, give_up_at, attempts: 0, last, now: Doing::Resting(rest) }
    }

    /// Waits for what is being done now; the next thing must be begun after each answer. Safe to cancel.
    pub(crate) async fn step(&mut self) -> Done {
        let done = async {
            match &mut self.now {
                Doing::Resting(until) => {
                    sleep_until(*until).await;
                    Done::Rested
                }
                Doing::Fetching(fetch) => Done::Fetched(fetch.await),
                Doing::Dialing(dial) => Done::Dialed(dial.await.map(Box::new)),
            }
        };
        tokio::select! {
            done = done => done,
            () = until(self.give_up_at) => {
                let (waited, tried) = (self.since.elapsed().as_secs(), self.attempts);
                Done::TooLate(Ended {
                    reason: format!("gave up after {waited} s and {tried} attempts: {}", self.last.reason),
                    ..self.last.clone()
                })
            }
        }
    }

    /// How long the next attempt may take.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        PATIENCE.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX)).min(most)
    }

    pub(crate) fn begin(&mut self, doing: Doing) {
        self.attempts += u32::from(matches!(doing, Doing::Dialing(_)));
        self.now = doing;
    }

    /// This attempt has failed; the next one comes at `rest`.
    pub(crate) fn failed(&mut self, last: Ended, rest: Instant) {
        (self.last, self.now) = (last, Doing::Resting(rest));
    }
}

/// What to do after a loss or a failed attempt, and why.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) action: Action,
    /// The time that the server asked for.
    pub(crate) told: Option<Duration>,
    pub(crate) ended: Ended,
}

impl Verdict {
    /// On a socket that carried a session.
    pub(crate) fn of_loss(ended: Ended) -> Self {
        // 1006 is what a connection that broke off is called where a number is needed.
        let action = Action::of_number(ended.code.unwrap_or(1006));
        let told = ended.cause.as_ref().and_then(|failed| failed.retry_after).map(Duration::from_millis);
        Self { action, told, ended }
    }

    /// Of an attempt to get the next socket.
    pub(crate) fn of_attempt(error: Error) -> Self {
        let (action, told) = match &error {
            Error::Handshake { status, problem } => {
                let told = problem.as_ref().and_then(|problem| problem.retry_after).map(Duration::from_millis);
                let code = problem.as_ref().and_then(|problem| ErrorCode::from_number(problem.code));
                (code.map_or_else(|| of_status(*status), |code| CloseCode::of_error(code).action()), told)
            }
            Error::Io(_) | Error::Timeout => (Action::Resume, None),
            Error::Token(NoToken::Later(_)) => (Action::Wait, None),
            Error::Closed { .. } => return Self::of_loss(error.into()),
            // A fault at this end or the other, which the next attempt would meet again.
            _ => (Action::Stop, None),
        };
        Self { action, told, ended: error.into() }
    }
}

/// For an answer without a problem document: most come from a proxy whose server is not there just now.
fn of_status(status: u16) -> Action {
    match status {
        401 => Action::Refresh,
        400 | 403 | 409 => Action::Stop,
        _ => Action::Wait,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::Problem;

    fn closed(code: Option<u16>, retry_after: Option<u64>) -> Ended {
        let error =
            serde_json::json!({ "re": null, "code": 904, "name": "", "message": "", "retry_after": retry_after });
        Ended { code, cause: serde_json::from_value(error).ok(), ..Ended::broken("") }
    }

    #[test]
    fn attempts_may_take_longer_and_longer() {
        let now = Instant::now();
        let mut away = Away::new(now, None, Ended::broken(""), now);
        let seconds = [(); 4].map(|()| {
            let patience = away.patience(Duration::from_secs(10)).as_secs();
            away.begin(Doing::Dialing(Box::pin(std::future::pending())));
            away.failed(Ended::broken(""), now);
            patience
        });
        assert_eq!(seconds, [3, 6, 10, 10]);
        away.attempts = 40;
        assert_eq!(away.patience(Duration::from_secs(10)).as_secs(), 10);
    }

    #[test]
    fn a_loss_is_judged_by_the_close_code_and_brings_its_time() {
        for (code, action) in [
            (None, Action::Resume),
            (Some(1001), Action::Resume),
            (Some(1005), Action::Resume),
            (Some(4002), Action::Resume),
            (Some(4100), Action::Refresh),
            (Some(4201), Action::Rejoin),
            (Some(4399), Action::Wait),
            (Some(1000), Action::Stop),
            (Some(4410), Action::Stop),
        ] {
            let verdict = Verdict::of_loss(closed(code, Some(700)));
            assert_eq!((verdict.action, verdict.told), (action, Some(Duration::from_millis(700))), "{code:?}");
            let verdict = Verdict::of_attempt(closed(code, None).into());
            assert_eq!((verdict.action, verdict.told, verdict.ended.code), (action, None, code));
        }
    }

    #[test]
    fn a_refused_handshake_is_judged_by_its_problem_or_else_by_its_status() {
        for (status, code, action) in [
            (401, Some(702), Action::Refresh),
            (401, Some(701), Action::Stop),
            (401, None, Action::Refresh),
            (403, Some(704), Action::Stop),
            (403, None, Action::Stop),
            (429, Some(903), Action::Wait),
            (503, Some(905), Action::Resume),
            (502, None, Action::Wait),
            (404, None, Action::Wait),
        ] {
            let problem =
                |code| Problem { title: String::new(), status, code, detail: String::new(), retry_after: Some(9) };
            let verdict = Verdict::of_attempt(Error::Handshake { status, problem: code.map(problem) });
            assert_eq!(verdict.action, action, "{status} {code:?}");
            assert_eq!(verdict.told, code.map(|_| Duration::from_millis(9)));
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, action) in [
            (Error::Io(refused()), Action::Resume),
            (Error::Timeout, Action::Resume),
            (Error::Token(NoToken::Later(String::new())), Action::Wait),
            (Error::Token(NoToken::Never(String::new())), Action::Stop),
            (Error::Protocol(String::new()), Action::Stop),
            (Error::Options(String::new()), Action::Stop),
        ] {
            let name = error.to_string();
            assert_eq!(Verdict::of_attempt(error).action, action, "{name}");
        }
    }
}
