//! `rallypoint token`: makes a token at the command line, for trying things out, for back ends and
//! for scripts.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use rallypoint_protocol::{UserName, Verb, Verbs, rights::Role};

use crate::auth::{
    AdminRight, Claims, KeySource, Minter, Pattern,
    claims::{Audience, NotifyClaim, RoomClaim},
    keys::KeyError,
};

/// The audience that tokens name unless told otherwise.
const AUDIENCE: &str = "rallypoint";
/// The issuer that tokens name unless told otherwise. A token without one is good in `--dev` only.
const ISSUER: &str = "rallypoint";

/// The flags of `rallypoint token`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenArgs {
    /// The user (claim `sub`)
    #[arg(long, value_name = "USER", value_parser = user)]
    pub user: UserName,
    /// The name that other members see
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A room, a branch (match/*) or *; may be repeated [default: *, unless --admin or --notify is given]
    #[arg(long = "room", value_name = "PATTERN", value_parser = Pattern::new)]
    pub rooms: Vec<Pattern>,
    /// The usual verbs of a role
    #[arg(long, value_name = "ROLE", default_value = "player", value_parser = ["player", "spectator", "host"])]
    pub role: String,
    /// These verbs instead of the role's: create, join, watch, signal, move, chat, publish, presence, history, kick
    #[arg(long = "do", value_name = "VERB,...", value_delimiter = ',', value_parser = verb)]
    pub verbs: Vec<Verb>,
    /// Users who may be notified, as a pattern; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::new)]
    pub notify: Vec<Pattern>,
    /// All rights over the whole server
    #[arg(long)]
    pub admin: bool,
    /// How long the token is good: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time_to_live)]
    pub ttl: Duration,
    /// What signs: env:NAME, file:PATH (a secret, or a private key in PEM: RSA for RS256, P-256 for
    /// ES256, Ed25519 for EdDSA), or the secret itself [default: the development secret]
    #[arg(long, value_name = "KEY")]
    pub key: Option<KeyText>,
    /// The name of the key (header `kid`)
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,
    /// Who makes the token (claim `iss`); `issuer` of the key, if the server's configuration has one
    #[arg(long, value_name = "ISSUER", default_value = ISSUER)]
    pub issuer: String,
    /// Whom the token is for (claim `aud`)
    #[arg(long, value_name = "AUDIENCE", default_value = AUDIENCE)]
    pub audience: String,
    /// The audience that --admin adds; `auth.admin_audience` of the server
    #[arg(long, value_name = "AUDIENCE", default_value = "rallypoint-admin")]
    pub admin_audience: String,
}

const EXAMPLES: &str = "\
Only the token is printed, so it can be used in place:
  curl -H \"Authorization: Bearer $(rallypoint token --user ada)\" http://127.0.0.1:3000/v1/ice-servers

Examples:
  rallypoint token --user ada
  rallypoint token --user ada --name 'Ada L.' --room 'match/*' --role host --ttl 30m
  rallypoint token --user tv --room stage --role spectator --key env:GAME_SECRET
  rallypoint token --user shop --room '*' --do publish --notify '*' --key file:rallypoint.secret
  rallypoint token --user ops --admin --ttl 1d --key file:private.pem --kid 2026-11 --issuer https://accounts.example";

/// The value of `--key`, which must not show up in a debug print.
#[derive(Clone)]
pub struct KeyText(String);

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

impl From<&str> for KeyText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum TokenError {
    #[error("--key env:{0}: the variable is not set")]
    NoVariable(String),
    #[error("--key: {0}")]
    Key(#[from] KeyError),
}

impl TokenArgs {
    /// The token. Warns on standard error when the secret stands on the command line, where other
    /// users of the machine can read it.
    pub fn run(&self) -> Result<String, TokenError> {
        let (source, bare) = key_source(self.key.as_ref(), |name| std::env::var(name).ok())?;
        if bare {
            eprintln!("warning: a secret on the command line is seen by others; use --key env:NAME or --key file:PATH");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.mint(&source, now)
    }

    fn mint(&self, source: &KeySource, now: u64) -> Result<String, TokenError> {
        let mut minter = Minter::new(source)?;
        if let Some(kid) = &self.kid {
            minter = minter.with_kid(kid);
        }
        Ok(minter.mint(&self.claims(now)))
    }

    fn claims(&self, now: u64) -> Claims {
        let (role, verbs) = match Role::parse(&self.role) {
            Some(role) if self.verbs.is_empty() => (Some(role.name().to_owned()), role.verbs()),
            _ => (None, Verbs::of(&self.verbs)),
        };
        let mut rooms = self.rooms.clone();
        if rooms.is_empty() && !self.admin && self.notify.is_empty() {
            rooms.push(Pattern::All);
        }
        let room = |pattern: Pattern| RoomClaim {
            pattern: pattern.to_string(),
            role: role.clone(),
            verbs: verbs.iter().map(|verb| verb.name().to_owned()).collect(),
        };
        let mut audience = vec![self.audience.clone()];
        if self.admin {
            audience.push(self.admin_audience.clone());
        }
        Claims {
            sub: self.user.to_string(),
            exp: (now + self.ttl.as_secs()) as f64,
            iat: Some(now as f64),
            iss: Some(self.issuer.clone()),
            aud: Audience(audience),
            name: self.name.clone(),
            rooms: rooms.into_iter().map(room).collect(),
            notify: NotifyClaim { send: self.notify.iter().map(Pattern::to_string).collect() },
            admin: AdminRight::ALL.iter().filter(|_| self.admin).map(|right| right.name().to_owned()).collect(),
            ..Claims::default()
        }
    }
}

/// The key that the text means, and whether the text is the secret itself.
fn key_source(
    text: Option<&KeyText>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(KeySource, bool), TokenError> {
    let Some(KeyText(text)) = text else { return Ok((KeySource::Development, false)) };
    if let Some(name) = text.strip_prefix("env:") {
        let value = variable(name).ok_or_else(|| TokenError::NoVariable(name.to_owned()))?;
        return Ok((KeySource::of_text(&value), false));
    }
    match text.strip_prefix("file:") {
        Some(file) => Ok((KeySource::of_file(Path::new(file))?, false)),
        None => Ok((KeySource::of_text(text), true)),
    }
}

fn user(text: &str) -> Result<UserName, &'static str> {
    UserName::new(text).map_err(|_| "a user name has 1 to 128 bytes of A-Z a-z 0-9 . _ ~ : @ / -")
}

fn verb(text: &str) -> Result<Verb, String> {
    let names = || Verb::ALL.map(Verb::name).join(", ");
    Verb::parse(text.trim()).ok_or_else(|| format!("the verbs are {}", names()))
}

fn time_to_live(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "write a number and s, m, h or d, such as 90s, 15m, 1h or 30d (at most 3650d)";
    const LONGEST: u64 = 3650 * 24 * 60 * 60;
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(WRONG)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(WRONG),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(WRONG)?;
    if (1..=LONGEST).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rallypoint_protocol::RoomName;

    use super::*;
    use crate::{
        auth::{
            AuthConfig, Grant, KeyConfig, Verifier,
            keys::Algorithm,
            pem::testing::{Pair, pair_for},
        },
        command::{Cli, Command},
    };

    const NOW: u64 = 1_800_000_000;

    fn parse(words: &[&str]) -> Result<TokenArgs, String> {
        let words = ["rallypoint", "token"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Token(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    /// What a server in development mode makes of the token.
    fn grant(words: &[&str]) -> Grant {
        let token = parse(words).unwrap().mint(&KeySource::Development, NOW).unwrap();
        let config = AuthConfig { dev: true, ..AuthConfig::default() };
        Verifier::new(&config).unwrap().verify(&token, NOW as f64 * 1000.0).unwrap()
    }

    fn verbs(grant: &Grant, room: &str) -> Verbs {
        grant.verbs(&RoomName::new(room).unwrap())
    }

    #[test]
    fn a_user_alone_is_a_player_everywhere_for_an_hour() {
        let grant = grant(&["--user", "ada"]);
        assert_eq!(verbs(&grant, "lobby"), Role::Player.verbs());
        assert_eq!(grant.rooms[0].role.as_deref(), Some("player"));
        assert_eq!(grant.expires_at_ms, (NOW + 3600) as f64 * 1000.0);
    }

    #[test]
    fn rooms_roles_and_verbs_are_written_as_asked() {
        let host = grant(&["--user", "ada", "--room", "match/*", "--room", "lobby", "--role", "host"]);
        assert_eq!(verbs(&host, "match/1"), Role::Host.verbs());
        assert_eq!(verbs(&host, "lobby"), Role::Host.verbs());
        assert_eq!(verbs(&host, "other"), Verbs::NONE);
        let two = grant(&["--user", "ada", "--room", "a", "--do", "join,chat", "--ttl", "30m", "--name", "Ada"]);
        assert_eq!(verbs(&two, "a"), Verbs::of(&[Verb::Join, Verb::Chat]));
        assert_eq!((two.rooms[0].role.as_deref(), two.name.as_deref()), (None, Some("Ada")));
        let shop = grant(&["--user", "shop", "--notify", "team/*"]);
        assert!(shop.rooms.is_empty() && shop.may_notify(&UserName::new("team/a").unwrap()));
    }

    #[test]
    fn a_real_key_makes_tokens_for_a_real_server() {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let Pair { private, public } = pair_for(algorithm);
            let key = |issuer: Option<&str>| KeyConfig {
                algorithm,
                secret: None,
                public_key: Some(public.clone()),
                kid: Some("k1".into()),
                issuer: issuer.map(Into::into),
                ..KeyConfig::of_secret("")
            };
            let server = |key| {
                let config = AuthConfig { audience: Some(AUDIENCE.into()), keys: vec![key], ..AuthConfig::default() };
                Verifier::new(&config).unwrap()
            };
            let (any, named) = (server(key(None)), server(key(Some("accounts"))));
            let source = KeySource::of_text(&private);
            let verify = |verifier: &Verifier, more: &[&str], source| {
                let words = [&["--user", "ops", "--admin", "--kid", "k1"], more].concat();
                verifier.verify(&parse(&words).unwrap().mint(source, NOW).unwrap(), NOW as f64 * 1000.0)
            };
            let grant = verify(&any, &[], &source).unwrap();
            assert!(AdminRight::ALL.into_iter().all(|right| grant.has_admin(right)));
            assert!(verify(&any, &[], &KeySource::Development).is_err());
            assert!(verify(&named, &["--issuer", "accounts"], &source).is_ok());
            assert!(verify(&named, &[], &source).is_err());
        }
    }

    #[test]
    fn keys_come_from_three_places() {
        let secret = "x".repeat(40);
        let variable = |name: &str| (name == "K").then(|| secret.clone());
        let source = |text: &str| key_source(Some(&KeyText::from(text)), variable);
        assert_eq!(key_source(None, variable).unwrap(), (KeySource::Development, false));
        assert_eq!(source("env:K").unwrap(), (KeySource::Secret(secret.clone()), false));
        assert_eq!(source(&secret).unwrap(), (KeySource::Secret(secret.clone()), true));
        assert!(matches!(source("env:L"), Err(TokenError::NoVariable(name)) if name == "L"));
        assert!(matches!(source("file:/nowhere/x"), Err(TokenError::Key(KeyError::Unreadable { .. }))));
        let short = parse(&["--user", "ada"]).unwrap().mint(&KeySource::Secret("short".into()), NOW);
        assert!(matches!(short, Err(TokenError::Key(KeyError::Short(5)))));
        assert!(!format!("{:?}", parse(&["--user", "ada", "--key", "hush"])).contains("hush"));
    }

    #[test]
    fn mistakes_are_refused_with_what_is_right() {
        for (words, expected) in [
            (vec!["--user", "a b"], "a user name has"),
            (vec!["--user", "a", "--room", "a*"], "a pattern is"),
            (vec!["--user", "a", "--do", "join,fly"], "the verbs are create, join"),
            (vec!["--user", "a", "--role", "king"], "spectator"),
            (vec!["--user", "a", "--ttl", "1w"], "write a number and s, m, h or d"),
            (vec!["--user", "a", "--ttl", "0s"], "write a number"),
            (vec!["--user", "a", "--ttl", "é"], "write a number"),
            (vec!["--user", "a", "--ttl", "99999999999999999999d"], "write a number"),
            (vec![], "--user"),
        ] {
            let error = parse(&words).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert_eq!(time_to_live("2d"), Ok(Duration::from_secs(172_800)));
    }
}
