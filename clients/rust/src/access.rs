//! The access token in use: how long it is good for, and when to get the next one.
//!
//! All times are the server's, told by `connected`: this end's clock may be wrong by hours.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rallypoint_protocol::event::Millis;
use tokio::time::{Instant, timeout};

use crate::token::{NoToken, Token, expiry};

/// Renewals are never closer together, whatever a token says and however often its source fails.
const RENEW_PAUSE: Duration = Duration::from_secs(5);
/// The part of what is left of a token's life after which the next one is fetched.
const RENEW_AFTER: f64 = 0.8;
/// Longer lives are cut here, so that no sum of times overflows.
const LIFE_MOST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The token of one client, over all its sessions.
#[derive(Debug)]
pub(crate) struct Access {
    token: Token,
    /// How long the source may take.
    patience: Duration,
    /// Empty where something else than a token speaks for the client.
    current: String,
    /// What the server's clock said, and when.
    time: Option<(Instant, Millis)>,
    expires: Option<Instant>,
    renew_at: Option<Instant>,
    /// The server wants another one before anything else.
    refused: bool,
}

impl Access {
    pub(crate) fn new(token: Token, patience: Duration, current: String) -> Self {
        Self { token, patience, current, time: None, expires: None, renew_at: None, refused: false }
    }

    /// A session has begun or goes on, so the server takes the token; its clock said `time`.
    pub(crate) fn opened(&mut self, time: Millis, now: Instant) {
        (self.time, self.refused) = (Some((now, time)), false);
        self.plan(now);
    }

    /// The server has taken another token, or will be shown it next.
    pub(crate) fn renewed(&mut self, token: String, now: Instant) {
        (self.current, self.refused) = (token, false);
        self.plan(now);
    }

    /// The next token is late or was not taken: the next try comes after a pause.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.renew_at = self.can_renew().then_some(now + RENEW_PAUSE);
    }

    /// Nothing more is fetched while the next token is on its way to the server, or if there will be none.
    pub(crate) fn rest(&mut self) {
        self.renew_at = None;
    }

    /// The server wants a fresh token. Whether there may be one.
    pub(crate) fn refuse(&mut self) -> bool {
        self.refused = true;
        self.can_renew()
    }

    fn can_renew(&self) -> bool {
        matches!(self.token, Token::Source(_))
    }

    fn plan(&mut self, now: Instant) {
        let left = self.time.zip(expiry(&self.current)).map(|((at, time), expiry)| {
            let left = expiry.since(time) / 1000.0 - now.duration_since(at).as_secs_f64();
            Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(LIFE_MOST).min(LIFE_MOST)
        });
        self.expires = left.map(|left| now + left);
        let renewal = left.filter(|_| self.can_renew());
        self.renew_at = renewal.map(|left| now + left.mul_f64(RENEW_AFTER).max(RENEW_PAUSE));
    }

    /// When to ask the source while the session goes on.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        self.renew_at
    }

    /// Whether there must be another token before the next attempt.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.can_renew() && (self.refused || self.has_expired(now))
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The token to connect with.
    pub(crate) fn current(&self) -> &str {
        &self.current
    }

    /// The token for a resume. An expired one would have the resume refused, while the session
    /// itself may still be within its grace.
    pub(crate) fn jwt(&self, now: Instant) -> Option<String> {
        let usable = !self.current.is_empty() && !self.has_expired(now);
        usable.then(|| self.current.clone())
    }

    /// Asks for the next token.
    pub(crate) fn fetch(&self) -> BoxFuture<'static, Result<String, NoToken>> {
        let (token, patience) = (self.token.clone(), self.patience);
        Box::pin(async move {
            let late = |_| NoToken::Later("the source did not answer in time".to_owned());
            timeout(patience, token.get()).await.map_err(late).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::expiring;

    /// What the server's clock says at the beginning; nothing to do with any clock here.
    const TIME: Millis = Millis(5_000_000.0);

    fn source() -> Token {
        Token::source(|| async { Err(NoToken::Later(String::new())) })
    }

    fn access(token: Token, life: u64) -> (Access, Instant) {
        let begin = Instant::now();
        let mut access = Access::new(token, RENEW_PAUSE, expiring(5000 + life));
        access.opened(TIME, begin);
        (access, begin)
    }

    #[test]
    fn renewal_is_due_in_time_and_never_in_a_hurry() {
        for (life, due) in [(100, 80), (3600, 2880), (3, 5), (0, 5)] {
            let (access, begin) = access(source(), life);
            assert_eq!(access.renew_at(), Some(begin + Duration::from_secs(due)), "{life}");
        }
        let (mut access, begin) = access(source(), 100);
        let later = begin + Duration::from_secs(60);
        access.renewed(expiring(5000 + 160), later);
        assert_eq!(access.renew_at(), Some(later + Duration::from_secs(80)));
        access.postpone(later);
        assert_eq!(access.renew_at(), Some(later + RENEW_PAUSE));
        access.rest();
        assert_eq!(access.renew_at(), None);
    }

    #[test]
    fn a_fixed_token_and_one_without_end_are_not_renewed() {
        let (fixed, _) = access("".into(), 100);
        let mut endless = Access::new(source(), RENEW_PAUSE, "opaque".to_owned());
        endless.opened(TIME, Instant::now());
        assert_eq!((fixed.renew_at(), endless.renew_at()), (None, None));
        let (ages, begin) = access(source(), u64::from(u32::MAX) * 1000);
        assert_eq!(ages.renew_at(), Some(begin + LIFE_MOST.mul_f64(RENEW_AFTER)));
    }

    #[test]
    fn a_refused_or_expired_token_is_stale_only_if_there_can_be_another() {
        for (token, can_renew) in [(source(), true), (Token::from(""), false)] {
            let (mut access, begin) = access(token, 100);
            assert!(!access.is_stale(begin + Duration::from_secs(99)));
            assert_eq!(access.is_stale(begin + Duration::from_secs(100)), can_renew);
            assert_eq!((access.refuse(), access.is_stale(begin)), (can_renew, can_renew));
            access.renewed(expiring(5200), begin);
            assert!(!access.is_stale(begin));
        }
    }

    #[test]
    fn a_resume_shows_the_token_while_it_is_good() {
        let (access, begin) = access("".into(), 100);
        assert_eq!(access.jwt(begin + Duration::from_secs(99)), Some(expiring(5100)));
        assert_eq!(access.jwt(begin + Duration::from_secs(100)), None);
        assert_eq!(Access::new("".into(), RENEW_PAUSE, String::new()).jwt(begin), None);
        assert_eq!(Access::new("".into(), RENEW_PAUSE, "opaque".to_owned()).jwt(begin).as_deref(), Some("opaque"));
    }
}
