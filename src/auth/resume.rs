//! Resume tokens: what a client shows to take its lost session up again. Signed, not encrypted;
//! the key comes from the configuration, so a token outlives the process that made it. It has no
//! expiry of its own: the session's access token has one, and after a restart a good access token
//! comes with it.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut};
use rallypoint_protocol::{PeerId, UserName};
use uuid::Uuid;

use super::{
    AuthConfig,
    keys::{Algorithm, DEVELOPMENT_SECRET, KeyError, Secret, check_secret, one_of},
};

/// Longest token that is looked at: the longest that is made, and a little.
const TOKEN_MAX: usize = 512;
const VERSION: u8 = 1;
/// Bytes of a token before the name of the user.
const HEAD: usize = 1 + 8 + 16 + 16 + 8 + 8 + 1;
/// Makes keys that are derived from others unlike those of any other use.
const LABEL: &[u8] = b"rallypoint resume tokens, version 1";

/// What a resume token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    /// The process that made it.
    pub node: u64,
    /// The session.
    pub session: Uuid,
    /// Its peer id.
    pub peer: PeerId,
    /// The user's generation.
    pub generation: u64,
    /// Which of the session's tokens it is.
    pub number: u64,
    /// Whose session.
    pub user: UserName,
}

/// Signs and checks resume tokens.
pub struct ResumeKey {
    key: hmac::Key,
    /// Whether another process of the same configuration has the same key.
    lasting: bool,
}

impl ResumeKey {
    /// The configured key; without one, a key derived from the secrets that tokens are signed
    /// with; without those, a random one, which ends with the process.
    pub fn new(config: &AuthConfig) -> Result<Self, KeyError> {
        let of = |secret: &[u8], lasting| Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), lasting };
        let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.0.clone());
        if let Some(secret) = one_of(text(&config.resume_secret).as_deref(), config.resume_secret_file.as_deref())? {
            check_secret(&secret)?;
            return Ok(of(secret.as_bytes(), true));
        }
        let shared = config.keys.iter().filter(|key| key.algorithm == Algorithm::Hs256);
        let shared = shared.map(|key| one_of(text(&key.secret).as_deref(), key.secret_file.as_deref()));
        let mut secrets: Vec<String> = shared.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if config.dev {
            secrets.push(DEVELOPMENT_SECRET.to_owned());
        }
        if secrets.is_empty() {
            // Two random UUIDs are 244 random bits.
            let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
            return Ok(of(&random, false));
        }
        let label = hmac::Key::new(hmac::HMAC_SHA256, LABEL);
        Ok(of(hmac::sign(&label, secrets.join("\n").as_bytes()).as_ref(), true))
    }

    /// Whether tokens are good after a restart.
    pub fn is_lasting(&self) -> bool {
        self.lasting
    }

    /// The text of a token.
    pub fn write(&self, token: &ResumeToken) -> String {
        let user = token.user.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(HEAD + user.len() + 32);
        bytes.put_u8(VERSION);
        bytes.put_u64(token.node);
        bytes.put_slice(token.session.as_bytes());
        bytes.put_slice(token.peer.0.as_bytes());
        bytes.put_u64(token.generation);
        bytes.put_u64(token.number);
        bytes.put_u8(u8::try_from(user.len()).expect("a user name has at most 128 bytes"));
        bytes.put_slice(user);
        let tag = hmac::sign(&self.key, &bytes);
        bytes.put_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token; `None` unless this key signed it.
    pub fn read(&self, text: &str) -> Option<ResumeToken> {
        if text.len() > TOKEN_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (mut said, tag) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        hmac::verify(&self.key, said, tag).ok()?;
        if said.len() < HEAD || said.get_u8() != VERSION {
            return None;
        }
        let node = said.get_u64();
        let session = Uuid::from_u128(said.get_u128());
        let peer = PeerId(Uuid::from_u128(said.get_u128()));
        let (generation, number) = (said.get_u64(), said.get_u64());
        if usize::from(said.get_u8()) != said.len() {
            return None;
        }
        let user = UserName::new(std::str::from_utf8(said).ok()?).ok()?;
        Some(ResumeToken { node, session, peer, generation, number, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeyConfig;

    fn token() -> ResumeToken {
        ResumeToken {
            node: 7,
            session: Uuid::from_u128(0x0f9d_8c7b),
            peer: PeerId(Uuid::from_u128(0x5b0d_4a8e)),
            generation: 3,
            number: 2,
            user: UserName::new("team/ada").unwrap(),
        }
    }

    fn key(secret: &str) -> ResumeKey {
        let config = AuthConfig { resume_secret: Some(Secret(secret.into())), ..AuthConfig::default() };
        ResumeKey::new(&config).unwrap()
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let key = key(SECRET);
        let text = key.write(&token());
        assert_eq!(key.read(&text), Some(token()));
        let long = ResumeToken { user: UserName::new(&"u".repeat(128)).unwrap(), ..token() };
        assert!(key.write(&long).len() <= TOKEN_MAX);
        assert_eq!(key.read(&key.write(&long)), Some(long));
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(key.read(&changed), None, "{at}");
            assert_eq!(key.read(&text[..at]), None, "{at}");
        }
        assert_eq!(key.read(&"A".repeat(4096)), None);
        assert_eq!(key.read(&format!("{text}=")), None);
    }

    #[test]
    fn another_key_is_another_key() {
        let text = key(SECRET).write(&token());
        assert_eq!(key("fedcba9876543210fedcba9876543210").read(&text), None);
    }

    #[test]
    fn the_key_comes_from_the_configuration() {
        let dev = AuthConfig { dev: true, ..AuthConfig::default() };
        let shared = AuthConfig { keys: vec![KeyConfig::of_secret(SECRET)], ..AuthConfig::default() };
        for config in [&dev, &shared] {
            let (one, other) = (ResumeKey::new(config).unwrap(), ResumeKey::new(config).unwrap());
            assert!(one.is_lasting());
            assert_eq!(other.read(&one.write(&token())), Some(token()));
        }
        let none = AuthConfig::default();
        let (one, other) = (ResumeKey::new(&none).unwrap(), ResumeKey::new(&none).unwrap());
        assert!(!one.is_lasting());
        assert_eq!(other.read(&one.write(&token())), None);
        // The secret that signs access tokens is not itself the key.
        assert_eq!(key(SECRET).read(&ResumeKey::new(&shared).unwrap().write(&token())), None);
        let short = AuthConfig { resume_secret: Some(Secret("short".into())), ..AuthConfig::default() };
        assert!(ResumeKey::new(&short).is_err());
    }
}
