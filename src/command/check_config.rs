//! `rallypoint check-config FILE`: says what is wrong with a configuration before a restart does.

use std::path::PathBuf;

use clap::Args;

use crate::config::{AuditTo, Config, ConfigError, Overrides, environment, load};

/// The flags of `rallypoint check-config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckConfigArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// A certificate that ends sooner is spoken of.
const CERTIFICATE_DAYS: i64 = 14;

const EXAMPLES: &str = "\
The environment counts as it would for the server; key files are read. Exits with 1 and one line
for each mistake if there are any.

Examples:
  rallypoint check-config rallypoint.toml
  RALLYPOINT_AUTH__AUDIENCE=game rallypoint check-config rallypoint.toml";

impl CheckConfigArgs {
    /// The text to print when the file is good.
    pub fn run(&self) -> Result<String, ConfigError> {
        self.run_in(environment())
    }

    fn run_in(&self, env: impl Iterator<Item = (String, String)>) -> Result<String, ConfigError> {
        let config = load(Some(&self.file), env, Overrides::default())?;
        let notes: String = notes(&config).iter().map(|note| format!("\n  note      {note}")).collect();
        Ok(format!("{}: ok\n{}{notes}", self.file.display(), summary(&config)))
    }
}

fn summary(config: &Config) -> String {
    let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let of_keys = config.auth.keys.iter().map(|key| key.issuer.clone());
    let of_sets = config.auth.jwks.iter().map(|set| set.issuer.clone());
    let [issuers, sets] = [of_keys.collect::<Vec<_>>(), of_sets.collect()]
        .map(|list| list.into_iter().map(|one| one.unwrap_or_else(|| "any issuer".to_owned())).collect::<Vec<_>>());
    let development = if config.dev { " (development mode: its public secret opens the door)" } else { "" };
    format!(
        "  listen    {}{development}\n  engine    {}\n  tls       {}\n  metrics   {}\n  origins   {}\n  audience  {}\n  keys      {} ({})\n  \
         key sets  {} ({})\n  rooms     {} rules\n  ice       {} servers\n  webhooks  {}\n  audit     {}",
        config.listen,
        config.engine,
        certificate(config),
        config.metrics_listen.map_or_else(|| "with a token".to_owned(), |address| address.to_string()),
        list(&config.origins),
        config.auth.audience.as_deref().unwrap_or("any"),
        config.auth.keys.len(),
        list(&issuers),
        sets.len(),
        list(&sets),
        config.rooms.len(),
        config.ice.len(),
        list(&config.webhooks.iter().filter_map(|hook| hook.called()).collect::<Vec<_>>()),
        audit(config),
    )
}

/// Where the audit log goes.
fn audit(config: &Config) -> String {
    match (config.audit.to, &config.audit.file) {
        (AuditTo::File, Some(file)) => file.display().to_string(),
        (AuditTo::Off | AuditTo::File, _) => "off".to_owned(),
        (AuditTo::Stdout, _) => "standard output".to_owned(),
        (AuditTo::Stderr, _) => "standard error".to_owned(),
    }
}

/// The certificate in a line; what is wrong with it was found before.
fn certificate(config: &Config) -> String {
    config.tls.load().ok().flatten().map_or_else(
        || "off".to_owned(),
        |identity| {
            format!("{}, {} days left", identity.names.join(", "), identity.days_left(std::time::SystemTime::now()))
        },
    )
}

/// What is allowed and rarely meant.
fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if config.origins.is_empty() && !config.dev {
        notes.push("`origins` lists no page, so browsers are refused; programs are not".to_owned());
    } else if config.pages && !config.dev {
        notes.push(
            "the pages at / can connect only if `origins` lists the address that they are opened under".to_owned(),
        );
    }
    if config.ice.is_empty() {
        notes.push("no [[ice]]: calls find a way within one network only; add a STUN and a TURN server".to_owned());
    }
    if let Ok(Some(identity)) = config.tls.load()
        && identity.days_left(std::time::SystemTime::now()) < CERTIFICATE_DAYS
    {
        notes.push("the certificate ends soon, or has ended: a new one in the same files is taken up by itself".into());
    }
    for hook in config.webhooks.iter().filter(|hook| hook.is_in_the_clear()) {
        let called = hook.called().unwrap_or_default();
        notes.push(format!("the webhook {called} is sent in the clear: names of users can be read on the way"));
    }
    for (at, rule) in config.rooms.iter().enumerate() {
        if let Some(before) = config.rooms[..at].iter().position(|before| before.pattern.includes(&rule.pattern)) {
            let [rule, before] = [&rule.pattern, &config.rooms[before].pattern];
            notes.push(format!(
                "[[rooms]] `{rule}` is never used: `{before}` stands before it, and the first that fits counts"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::pattern::Pattern, config::RoomRule, room::settings::RoomSettings};

    #[test]
    fn a_good_file_is_summed_up_and_a_bad_one_explained() {
        let file = std::env::temp_dir().join(format!("rallypoint-check-test-{}.toml", std::process::id()));
        let args = CheckConfigArgs { file: file.clone() };
        std::fs::write(&file, "dev = true\norigins = ['https://app.example']\n").unwrap();
        let good = args.run_in(std::iter::empty());
        std::fs::write(&file, "[limits]\nframe = 1\n").unwrap();
        let bad = args.run_in(std::iter::empty());
        std::fs::remove_file(&file).unwrap();
        let good = good.unwrap();
        assert!(good.starts_with(&format!("{}: ok\n", file.display())), "{good}");
        assert!(good.contains("origins   https://app.example"), "{good}");
        assert!(bad.unwrap_err().to_string().contains(":2: limits.frame: 1 is out of range"));
    }

    #[test]
    fn what_is_rarely_meant_is_noted() {
        let rule = |pattern| RoomRule { pattern: Pattern::new(pattern).unwrap(), settings: RoomSettings::default() };
        let patterns = ["match/7", "match/*", "match/7", "match/a/*", "lobby", "*", "lobbies/*"];
        let mut config = Config { rooms: patterns.map(rule).into(), ..Config::default() };
        let dead = |config: &Config| notes(config).iter().filter(|note| note.contains("never used")).count();
        assert_eq!(dead(&config), 3, "{:?}", notes(&config));
        assert!(notes(&config).iter().any(|note| note.contains("lists no page")), "{:?}", notes(&config));
        assert!(notes(&config).iter().any(|note| note.contains("no [[ice]]")), "{:?}", notes(&config));
        config.origins = vec!["https://app.example".to_owned()];
        assert!(notes(&config).iter().any(|note| note.contains("the pages at /")), "{:?}", notes(&config));
        let dev = [
            ("RALLYPOINT_DEV", "true"),
            ("RALLYPOINT_ICE__0__URLS", "stun:stun.example"),
            ("RALLYPOINT_WEBHOOKS__0__URL", "http://receiver:8080/"),
            ("RALLYPOINT_WEBHOOKS__0__SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ];
        config =
            load(None, dev.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter(), Overrides::default())
                .unwrap();
        let [note] = &notes(&config)[..] else { panic!("{:?}", notes(&config)) };
        assert!(note.contains("the webhook receiver:8080 is sent in the clear"), "{note}");
        assert!(summary(&config).contains("webhooks  receiver:8080"), "{}", summary(&config));
        config.webhooks.clear();
        assert_eq!(notes(&config), [""; 0]);
    }
}
