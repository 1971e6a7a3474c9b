//! Reads the configuration, and refuses a bad one with everything that is wrong with it at once.
//! `main` and `rallypoint check-config` call [`load()`].

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, LogFormat, schema, source::Layers};
use crate::{
    auth::{AuthConfigError, OriginRules, ResumeKey, Verifier},
    proxies::Proxies,
};

/// What the command line puts in place of the file and the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--dev`.
    pub dev: bool,
    /// `--dev-insecure`.
    pub dev_insecure: bool,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// `--engine`.
    pub engine: Option<String>,
    /// `--tls-certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// `--tls-key`.
    pub tls_key: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, the environment variable or the flag that the value came from.
    pub place: Option<String>,
    /// The key, `limits.frame`; empty when it is not about one key.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has an error:")?,
            count => write!(f, "the configuration has {count} errors:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// The process's environment for [`load()`]; variables that are not Unicode are none of ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the file, then the environment (`RALLYPOINT_LIMITS__FRAME=65536`), then the flags; the
/// later one wins. Fails with all problems together.
pub fn load(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: Overrides,
) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    if let Some(path) = path {
        match fs::read_to_string(path) {
            Ok(text) => layers.file(&text, path),
            Err(error) => layers.problems.push(Problem {
                place: Some(path.display().to_string()),
                key: String::new(),
                message: format!("cannot be read: {error}"),
            }),
        }
        // A file that is not TOML has nothing more to say.
        if !layers.problems.is_empty() {
            return Err(ConfigError { problems: layers.problems });
        }
        resolve_files(&mut layers.table, path.parent().unwrap_or(Path::new("")));
    }
    layers.environment(env);
    apply(&mut layers, &overrides);

    let mut found = Vec::new();
    schema::check(&layers.table, "", "", &mut |path, message| found.push((path, message)));
    for (path, message) in found {
        layers.report(path, message);
    }
    layers.prune();
    match build(layers.table.clone()) {
        Ok(config) => {
            check(&config, &mut layers);
            if layers.problems.is_empty() {
                return Ok(config);
            }
        }
        // Schema and types disagree: a bug, but one that the operator can work around.
        Err(error) => layers.report(String::new(), error.message().to_owned()),
    }
    Err(ConfigError { problems: layers.problems })
}

fn apply(layers: &mut Layers, overrides: &Overrides) {
    if overrides.dev {
        layers.flag(&["dev"], true.into(), "--dev");
    }
    if overrides.dev_insecure {
        layers.flag(&["dev_insecure"], true.into(), "--dev-insecure");
    }
    if let Some(address) = overrides.listen {
        layers.flag(&["listen"], address.to_string().into(), "--listen");
    }
    if let Some(address) = overrides.metrics_listen {
        layers.flag(&["metrics_listen"], address.to_string().into(), "--metrics-listen");
    }
    if let Some(engine) = &overrides.engine {
        layers.flag(&["engine"], engine.clone().into(), "--engine");
    }
    for (file, key, flag) in [
        (&overrides.tls_certificate, "certificate_file", "--tls-certificate"),
        (&overrides.tls_key, "key_file", "--tls-key"),
    ] {
        if let Some(file) = file.as_deref().and_then(Path::to_str) {
            layers.flag(&["tls", key], file.into(), flag);
        }
    }
    if let Some(format) = overrides.log_format {
        let word = match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        layers.flag(&["log", "format"], word.into(), "--log-format");
    }
}

/// Key files in a configuration file are meant from where that file is.
fn resolve_files(table: &mut Table, base: &Path) {
    let resolve = |place: &mut Value, name: &str| {
        if let Some(Value::String(file)) = place.get_mut(name)
            && let Some(joined) = base.join(&*file).to_str()
        {
            *file = joined.to_owned();
        }
    };
    if let Some(tls) = table.get_mut("tls") {
        resolve(tls, "certificate_file");
        resolve(tls, "key_file");
    }
    if let Some(audit) = table.get_mut("audit") {
        resolve(audit, "file");
    }
    for hook in table.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        resolve(hook, "secret_file");
    }
    let Some(auth) = table.get_mut("auth") else { return };
    resolve(auth, "resume_secret_file");
    for key in auth.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        resolve(key, "secret_file");
        resolve(key, "public_key_file");
    }
    for set in auth.get_mut("jwks").and_then(Value::as_array_mut).into_iter().flatten() {
        resolve(set, "file");
    }
}

/// The typed configuration. Each `[[rooms]]` rule is completed from `[room]` here, once, so that
/// looking up a room's settings is a search and no merge.
fn build(mut table: Table) -> Result<Config, toml::de::Error> {
    let room = table.get("room").and_then(Value::as_table).cloned().unwrap_or_default();
    if let Some(Value::Array(rules)) = table.get_mut("rooms") {
        for rule in rules {
            if let Value::Table(rule) = rule {
                let pattern = rule.remove("match");
                let mut settings = room.clone();
                settings.extend(std::mem::take(rule));
                rule.extend(pattern.map(|pattern| ("match".to_owned(), pattern)));
                rule.insert("settings".to_owned(), Value::Table(settings));
            }
        }
    }
    let mut config: Config = table.try_into()?;
    config.auth.dev = config.dev;
    Ok(config)
}

/// What one key cannot tell: how values stand to each other.
fn check(config: &Config, layers: &mut Layers) {
    let limits = &config.limits;
    let sizes = |small: usize, large: usize| small <= large;
    for (good, key, other, relation) in [
        (sizes(limits.move_payload, limits.frame), "limits.move_payload", "limits.frame", "at most"),
        (sizes(limits.text, limits.frame), "limits.text", "limits.frame", "at most"),
        (sizes(limits.signal, limits.frame), "limits.signal", "limits.frame", "at most"),
        (sizes(limits.notification_data, limits.frame), "limits.notification_data", "limits.frame", "at most"),
        (sizes(limits.frame, limits.outbound_budget), "limits.outbound_budget", "limits.frame", "at least"),
        (sizes(config.room.history_bytes, limits.log_bytes), "room.history_bytes", "limits.log_bytes", "at most"),
        (limits.poll_wait_ms <= limits.poll_wait_max_ms, "limits.poll_wait_ms", "limits.poll_wait_max_ms", "at most"),
        (
            limits.requests_burst >= limits.requests_per_second,
            "limits.requests_burst",
            "limits.requests_per_second",
            "at least",
        ),
        (limits.moves_burst >= limits.moves_per_second, "limits.moves_burst", "limits.moves_per_second", "at least"),
        (config.room.gather_until < config.room.gather_above, "room.gather_until", "room.gather_above", "less than"),
    ] {
        relate(layers, good, key, other, relation);
    }
    for (index, rule) in config.rooms.iter().enumerate() {
        let good = rule.settings.gather_until < rule.settings.gather_above;
        let key = |name: &str| format!("rooms[{index}].{name}");
        relate(layers, good, &key("gather_until"), &key("gather_above"), "less than");
    }
    check_addresses(config, layers);
    if let Err(error) = config.tls.load() {
        layers.report("tls".to_owned(), error.to_string());
    }
    if let Some(problem) = config.audit.problem() {
        layers.report("audit.file".to_owned(), problem.to_string());
    }
    check_origins(config, layers);
    check_proxies(config, layers);
    check_auth(config, layers);
    check_ice(config, layers);
    check_webhooks(config, layers);
}

fn relate(layers: &mut Layers, good: bool, key: &str, other: &str, relation: &str) {
    // A value that is out of range itself was replaced by its default; comparing that would mislead.
    if good || layers.problems.iter().any(|problem| problem.key == key || problem.key == other) {
        return;
    }
    let place = [key, other].into_iter().find(|path| layers.is_given(path)).unwrap_or(key);
    let place = layers.place(place).map(str::to_owned);
    layers.problems.push(Problem { place, key: key.to_owned(), message: format!("must be {relation} {other}") });
}

fn check_addresses(config: &Config, layers: &mut Layers) {
    if config.dev && !config.dev_insecure && !config.listen.ip().is_loopback() {
        let message = format!(
            "--dev on {} lets everybody who reaches it in, since its secret is public; \
             listen on 127.0.0.1, or add --dev-insecure (dev_insecure = true)",
            config.listen
        );
        layers.report("listen".to_owned(), message);
    }
    if let Some(address) = config.metrics_listen {
        if !address.ip().is_loopback() {
            let message = format!("{address} is no loopback address; nobody is asked for a token there");
            layers.report("metrics_listen".to_owned(), message);
        }
        if address == config.listen && address.port() != 0 {
            layers.report("metrics_listen".to_owned(), "must not be the same as listen".to_owned());
        }
    }
}

fn check_origins(config: &Config, layers: &mut Layers) {
    for (index, rule) in config.origins.iter().enumerate() {
        if let Err(error) = OriginRules::new(std::slice::from_ref(rule), false, false) {
            layers.report(format!("origins[{index}]"), error.to_string());
        }
    }
}

fn check_proxies(config: &Config, layers: &mut Layers) {
    for (index, entry) in config.trusted_proxies.iter().enumerate() {
        if let Err(error) = Proxies::new(std::slice::from_ref(entry), config.forwarded_header) {
            layers.report(format!("trusted_proxies[{index}]"), error.to_string());
        }
    }
}

fn check_auth(config: &Config, layers: &mut Layers) {
    let auth = &config.auth;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if auth.cookie.is_empty() || !auth.cookie.bytes().all(is_token) {
        layers.report("auth.cookie".to_owned(), "is no cookie name (RFC 6265: letters, digits, - _ .)".to_owned());
    }
    for (key, audience) in [("audience", auth.audience.as_deref()), ("admin_audience", Some(&*auth.admin_audience))] {
        if audience == Some("") {
            layers.report(format!("auth.{key}"), "must not be empty".to_owned());
        }
    }
    if auth.audience.as_ref() == Some(&auth.admin_audience) {
        let message = "must not be the same as auth.audience, or every token with an admin claim counts";
        layers.report("auth.admin_audience".to_owned(), message.to_owned());
    }
    // What the schema refused is already spoken of, and gone from `config`.
    let spoken_of = |layers: &Layers, key: &str| layers.problems.iter().any(|problem| problem.key.starts_with(key));
    if !config.dev && auth.audience.is_none() && !spoken_of(layers, "auth.audience") {
        layers.report("auth.audience".to_owned(), AuthConfigError::NoAudience.to_string());
    }
    let none = auth.keys.is_empty() && auth.jwks.is_empty();
    if !config.dev && none && !spoken_of(layers, "auth.keys") && !spoken_of(layers, "auth.jwks") {
        layers.report("auth.keys".to_owned(), AuthConfigError::NoKey.to_string());
    }
    for (index, key) in auth.keys.iter().enumerate() {
        if let Err(error) = key.decoding_key() {
            layers.report(format!("auth.keys[{index}]"), error.to_string());
        }
    }
    let own = auth.resume_secret.is_some() || auth.resume_secret_file.is_some();
    if own && let Err(error) = ResumeKey::new(auth) {
        layers.report("auth.resume_secret".to_owned(), error.to_string());
    }
    // The verifier has the last word on how the keys stand to each other.
    if !spoken_of(layers, "auth")
        && let Err(error) = Verifier::new(auth)
    {
        layers.report(error.place(), error.to_string());
    }
}

fn check_ice(config: &Config, layers: &mut Layers) {
    for (index, server) in config.ice.iter().enumerate() {
        if let Some((key, message)) = server.problem() {
            let entry = format!("ice[{index}]");
            layers.report(key.map_or(entry.clone(), |key| format!("{entry}.{key}")), message);
        }
    }
}

fn check_webhooks(config: &Config, layers: &mut Layers) {
    for (index, hook) in config.webhooks.iter().enumerate() {
        if let Some((key, error)) = hook.problem() {
            layers.report(format!("webhooks[{index}].{key}"), error.to_string());
        }
        // Metrics and the log tell them apart by their names.
        if config.webhooks[..index].iter().any(|other| other.called() == hook.called()) {
            let message = "is that of another webhook; the host of `url` counts as the name where none is given";
            layers.report(format!("webhooks[{index}].name"), message.to_owned());
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
