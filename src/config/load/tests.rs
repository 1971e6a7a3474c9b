//! Bad configurations and what is said of them; layers; the example file.

use std::path::PathBuf;

use super::*;
use crate::auth::keys::Algorithm;

const EXAMPLE: &str = include_str!("../../../rallypoint.example.toml");

/// The example with every commented-out default put in force. A default is a line `#key = value`;
/// prose and examples have a space after the `#`.
pub(in crate::config) fn example_with_defaults() -> String {
    let live = |line: &str| {
        let bare = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        format!("{}\n", bare.unwrap_or(line))
    };
    EXAMPLE.lines().map(live).collect()
}

/// The examples for keys without a default: lines that begin with `#` and just three spaces.
fn example_with_examples() -> String {
    let live = |line: &str| {
        let bare = line.strip_prefix("#   ").filter(|rest| !rest.starts_with(' '));
        format!("{}\n", bare.unwrap_or(line))
    };
    EXAMPLE.lines().map(live).collect()
}

fn env(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    owned.into_iter()
}

const DEV: Overrides = Overrides {
    dev: true,
    dev_insecure: false,
    listen: None,
    metrics_listen: None,
    engine: None,
    tls_certificate: None,
    tls_key: None,
    log_format: None,
};

/// Loads a file with this text. The name in messages is cut down to `file`.
fn load_text(text: &str, variables: &[(&str, &str)], overrides: Overrides) -> Result<Config, String> {
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let path = std::env::temp_dir().join(format!("rallypoint-load-test-{}-{thread}.toml", std::process::id()));
    fs::write(&path, text).unwrap();
    let result = load(Some(&path), env(variables), overrides);
    fs::remove_file(&path).unwrap();
    result.map_err(|error| error.to_string().replace(&path.display().to_string(), "file"))
}

#[track_caller]
fn says(result: Result<Config, String>, parts: &[&str]) {
    let error = result.expect_err("must be refused");
    for part in parts {
        assert!(error.contains(part), "expected {part:?} in:\n{error}");
    }
}

fn dev_defaults() -> Config {
    let mut config = Config { dev: true, ..Config::default() };
    config.auth.dev = true;
    config
}

/// The specification prints every default, and prints it right; what the example file says is held
/// to the code by the next test.
#[test]
fn the_specification_prints_the_defaults() {
    const SPECIFICATION: &str = include_str!("../../../protocol/README.md");
    let defaults: toml::Table = example_with_defaults().parse().unwrap();
    let mut told = std::collections::BTreeSet::new();
    let table = SPECIFICATION.lines().skip_while(|line| !line.starts_with("| Setting | Key | Default |"));
    for row in table.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let (key, default) = (cells[2], cells[3]);
        let found =
            key.split('.').try_fold(&toml::Value::Table(defaults.clone()), |value, part| value.get(part)).cloned();
        let found = found.unwrap_or_else(|| panic!("there is no key {key}"));
        assert_eq!(found.to_string().trim_matches('"'), default, "{key}");
        told.insert(key.to_owned());
    }
    for section in ["limits", "room", "user"] {
        for key in defaults[section].as_table().unwrap().keys() {
            assert!(told.contains(&format!("{section}.{key}")), "{section}.{key} is not in the table");
        }
    }
}

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(load_text(EXAMPLE, &[], DEV), Ok(dev_defaults()));
    let spelled_out = example_with_defaults();
    assert_eq!(load_text(&spelled_out, &[], DEV), Ok(dev_defaults()));
    // Nothing that has a default is missing from it.
    let table: Table = spelled_out.parse().unwrap();
    for (key, kind) in schema::keys("") {
        let schema::Kind::Section(section) = kind else { continue };
        for (inner, kind) in schema::keys(section) {
            if !matches!(kind, schema::Kind::Sections(_))
                && !["audience", "resume_secret", "resume_secret_file", "certificate_file", "key_file", "file"]
                    .contains(&inner)
            {
                assert!(table[key].get(inner).is_some(), "{key}.{inner}");
            }
        }
    }
    for key in ["listen", "dev", "dev_insecure", "pages", "origins", "forwarded_header"] {
        assert!(table.contains_key(key), "{key}");
    }
}

#[test]
fn the_examples_in_the_example_have_every_key_without_a_default() {
    let table: Table = example_with_examples().parse().unwrap();
    let mut problems = Vec::new();
    schema::check(&table, "", "", &mut |path, message| problems.push((path, message)));
    assert_eq!(problems, []);
    let config = build(table).unwrap();
    let algorithms: Vec<_> = config.auth.keys.iter().map(|key| key.algorithm.name()).collect();
    assert_eq!(algorithms, Algorithm::NAMES);
    assert!(config.auth.audience.is_some() && config.metrics_listen.is_some());
    assert_eq!((config.rooms.len(), config.ice.len()), (2, 3));
    // The only one spells its defaults out.
    let [hook] = &config.webhooks[..] else { panic!("{:?}", config.webhooks) };
    assert_eq!(hook.problem(), None);
    let left_out = toml::from_str("url = ''").unwrap();
    let own = crate::config::WebhookConfig {
        url: String::new(),
        name: None,
        secret: None,
        rooms: vec!["*".to_owned()],
        ..hook.clone()
    };
    assert_eq!(own, left_out);
    for key in [
        "kid",
        "issuer",
        "secret",
        "secret_file",
        "public_key",
        "public_key_file",
        "resume_secret",
        "resume_secret_file",
        "credential",
        "ttl_ms",
        "match",
    ] {
        assert!(EXAMPLE.contains(&format!("{key} = ")) || EXAMPLE.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn unknown_keys_are_named_with_the_known_ones() {
    says(
        load_text("\nlimits.fram = 1\n", &[], DEV),
        &["file:2: limits.fram: unknown key; known here are frame, move_"],
    );
    says(load_text("lisen = 'x'", &[], DEV), &["file:1: lisen: unknown key", "listen, dev,"]);
    says(load_text("[[rooms]]\nmatch = '*'\nframe = 1", &[], DEV), &["file:3: rooms[0].frame", "match, members"]);
}

#[test]
fn values_out_of_range_are_named_with_the_range() {
    says(load_text("[limits]\n\nframe = 12", &[], DEV), &["file:3: limits.frame: 12 is out", "1024 to 1048576"]);
    says(load_text("room.members = -1", &[], DEV), &["file:1: room.members: -1 is out"]);
    says(load_text("room.members = 1000001", &[], DEV), &["allowed is 1 to 1000000"]);
    assert!(load_text("room.members = 1000000", &[], DEV).is_ok());
    says(load_text("limits.frame = 1e5", &[], DEV), &["limits.frame: must be a whole number from 1024", "a fraction"]);
    says(load_text("listen = '::1:3000'", &[], DEV), &["file:1: listen: `::1:3000` is no address"]);
    says(load_text("log.format = 'xml'", &[], DEV), &["log.format: `xml` is not possible; allowed is text or json"]);
    says(load_text("[[rooms]]\nmatch = 'a*'", &[], DEV), &["file:2: rooms[0].match: a pattern is"]);
    says(load_text("[[rooms]]\nmatch = 'user/*'", &[], DEV), &["file:2: rooms[0].match: names beginning user/"]);
    says(load_text("\n[[rooms]]\nmembers = 5", &[], DEV), &["file:2: rooms[0]: `match` is missing"]);
    let key = "[[auth.keys]]\nalgorithm = 'HS512'\nsecret = 'x'";
    let possible = "allowed is HS256 or RS256 or ES256 or EdDSA";
    says(load_text(key, &[], DEV), &["file:2: auth.keys[0].algorithm: `HS512`", possible]);
}

#[test]
fn every_problem_is_told_at_once() {
    let text =
        "listen = 'x'\nnope = 1\norigins = ['https://a.example',\n 'b']\n[limits]\nframe = 1\nmoves_burst = 5\n[[ice]]";
    let variables = [("RALLYPOINT_LIMITS__TEXT", "much"), ("RALLYPOINT_LIMIT__FRAME", "1")];
    let parts = [
        "has 10 errors:",
        "\n  file:1: listen: ",
        "\n  file:2: nope: ",
        "\n  file:4: origins[1]: `b` is no origin rule",
        "\n  file:6: limits.frame: ",
        "\n  file:7: limits.moves_burst: must be at least limits.moves_per_second",
        "\n  RALLYPOINT_LIMITS__TEXT: limits.text: must be a whole number",
        "\n  RALLYPOINT_LIMIT__FRAME: unknown variable; after RALLYPOINT_ may come LISTEN,",
        "\n  auth.keys: no key to check tokens with",
        "\n  auth.audience: no audience",
        "RALLYPOINT_AUTH__AUDIENCE",
        "--dev",
        "\n  file:8: ice[0]: `urls` is missing",
    ];
    says(load_text(text, &variables, Overrides::default()), &parts);
}

#[test]
fn values_must_fit_each_other() {
    let table = [
        ("room.gather_until = 100", "file:1: room.gather_until: must be less than room.gather_above"),
        ("room.gather_above = 50", "file:1: room.gather_until: must be less than room.gather_above"),
        (
            "[[rooms]]\nmatch = '*'\ngather_above = 9",
            "file:3: rooms[0].gather_until: must be less than rooms[0].gather_",
        ),
        ("limits.frame = 2048", "file:1: limits.move_payload: must be at most limits.frame"),
        ("limits.poll_wait_max_ms = 10", "limits.poll_wait_ms: must be at most limits.poll_wait_max_ms"),
        ("metrics_listen = '0.0.0.0:9000'", "file:1: metrics_listen: 0.0.0.0:9000 is no loopback address"),
        ("metrics_listen = '127.0.0.1:3000'", "metrics_listen: must not be the same as listen"),
        ("listen = '0.0.0.0:3000'", "file:1: listen: --dev on 0.0.0.0:3000"),
        ("auth.cookie = 'a b'", "file:1: auth.cookie: is no cookie name"),
        ("auth.audience = 'rallypoint-admin'", "auth.admin_audience: must not be the same as auth.audience"),
        ("[[ice]]\nurls = ['http://x']", "file:2: ice[0].urls: every address begins with stun:"),
        ("[[ice]]\nurls = []", "file:2: ice[0].urls: every address begins with stun:"),
        ("[[ice]]\nurls = ['turn:x']", "file:1: ice[0]: turn needs `secret`, or `username` and `credential`"),
        ("[[ice]]\nurls = ['turn:x']\nusername = 'x'", "file:1: ice[0]: turn needs `secret`, or"),
        (
            "[[ice]]\nurls = ['turn:x']\nsecret = '0123456789abcdef'\ncredential = 'x'",
            "file:3: ice[0].secret: stands in place of `username` and `credential`",
        ),
        ("[[ice]]\nurls = ['turn:x']\nsecret = 'x'", "file:3: ice[0].secret: has 1 bytes; it needs at least 16"),
        (
            "[[ice]]\nurls = ['stun:x']\nsecret = '0123456789abcdef'",
            "file:3: ice[0].secret: is for turn: and turns: addresses",
        ),
        ("[[ice]]\nurls = ['stun:x']\nttl_ms = 60000", "file:3: ice[0].ttl_ms: is how long a credential"),
        ("[[ice]]\nurls = ['turn:x']\nttl_ms = 59999", "file:3: ice[0].ttl_ms: 59999 is out of range"),
        (
            "[[auth.keys]]\nalgorithm = 'HS256'\nsecret_file = 'x'\n[[auth.keys]]\nalgorithm = 'HS256'",
            "file:4: auth.keys[1]: HS256 needs `secret` or `secret_file`",
        ),
        (
            "auth.keys = [\n{algorithm = 'HS256', secret = '1234567890123456789012345678901234567890'},\n\
             {algorithm = 'HS256', secret = '1234567890123456789012345678901234567890'}]",
            "file:3: auth.keys[1]: several keys of one issuer",
        ),
        ("[[auth.keys]]\nalgorithm = 'HS256'\nsecret = 'x'", "file:1: auth.keys[0]: the secret has 1 bytes"),
        (
            "[[auth.keys]]\nalgorithm = 'ES256'\npublic_key = '''\n-----BEGIN PUBLIC KEY-----\n\
             MCowBQYDK2VwAyEALL3l2AJfBzaXynqgFoP139XpV1+W6elmRKRiA2WzC2s=\n-----END PUBLIC KEY-----\n'''",
            "file:1: auth.keys[0]: ES256 needs a key of the curve P-256 (prime256v1), this is an Ed25519 key (EdDSA)",
        ),
        (
            "[[auth.keys]]\nalgorithm = 'HS256'\nissuer = ''\nsecret = '1234567890123456789012345678901234567890'",
            "file:1: auth.keys[0]: `kid` and `issuer` must not be empty",
        ),
        ("audit.to = 'file'", "audit.file: is missing: `to = \"file\"` needs it"),
        ("[audit]\nfile = 'x'", "file:2: audit.file: is used with `to = \"file\"` only"),
        ("[audit]\nto = 'file'\nfile = 'no/such/x'", "file:3: audit.file: the folder of /"),
        ("audit.to = 'syslog'", "audit.to: `syslog` is not possible; allowed is off or stdout or stderr or file"),
        ("[[webhooks]]\nname = 'x'", "file:1: webhooks[0]: `url` is missing"),
        ("[[webhooks]]\nurl = 'x'", "file:2: webhooks[0].url: is no address"),
        ("[[webhooks]]\nurl = 'https://x/'", "webhooks[0].secret: `secret` or `secret_file` is missing"),
        ("[[webhooks]]\nurl = 'https://x/'\nsecret = 'hush'", "file:3: webhooks[0].secret: is \"whsec_\" and 24 to 64"),
        ("[[webhooks]]\nurl = 'https://x/'\nsecret_file = 'no-such-secret'", "webhooks[0].secret: cannot read /"),
        (
            "[[webhooks]]\nurl = 'https://x/'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\nevents = ['peer']",
            "file:4: webhooks[0].events: `peer` is not possible; allowed is peer-joined",
        ),
        (
            "[[webhooks]]\nurl = 'https://x/'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\nrooms = ['a*']",
            "file:4: webhooks[0].rooms: a pattern is",
        ),
        (
            "[[webhooks]]\nurl = 'https://x/'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n\
             [[webhooks]]\nurl = 'https://x/other'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'",
            "webhooks[1].name: is that of another webhook",
        ),
        ("[[webhooks]]\nurl = 'https://x/'\nconcurrency = 0", "file:3: webhooks[0].concurrency: 0 is out of range"),
    ];
    for (text, expected) in table {
        says(load_text(text, &[], DEV), &[expected]);
    }
    assert!(load_text("listen = '0.0.0.0:1'", &[], Overrides { dev_insecure: true, ..DEV }).is_ok());
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    says(load_text("a = 1\nb = = 2\n", &[], DEV), &["file:2: "]);
    says(load_text("dev = true\ndev = true\n", &[], DEV), &["file:2: ", "duplicate"]);
    let missing = load(Some(Path::new("/nowhere/x.toml")), env(&[]), DEV).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/x.toml: cannot be read"), "{missing}");
}

#[test]
fn the_environment_goes_over_the_file_and_flags_over_both() {
    let text =
        "listen = '127.0.0.1:1'\nlimits.frame = 5000\nlimits.move_payload = 100\norigins = ['https://a.example']\n";
    let variables = [
        ("RALLYPOINT_LISTEN", "127.0.0.1:2"),
        ("RALLYPOINT_LIMITS__FRAME", "70000"),
        ("RALLYPOINT_PAGES", "false"),
        ("RALLYPOINT_ORIGINS", "https://b.example, https://c.example"),
        ("RALLYPOINT_LOG__FILTER", "debug"),
        ("RALLYPOINT_METRICS_LISTEN", ""),
        ("RALLYPOINT_CONFIG", "x"),
        ("RALLYPOINT_PORT", "tcp://10.0.0.1:3000"),
        ("RALLYPOINT_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/"),
    ];
    let config = load_text(text, &variables, DEV).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!((config.limits.frame, config.limits.move_payload), (70_000, 100));
    assert_eq!(config.origins, ["https://b.example", "https://c.example"]);
    assert_eq!((config.pages, config.log.filter.as_str()), (false, "debug"));
    let flags =
        Overrides { listen: Some(SocketAddr::from(([127, 0, 0, 1], 3))), log_format: Some(LogFormat::Json), ..DEV };
    let config = load_text(text, &variables, flags).unwrap();
    assert_eq!((config.listen.port(), config.log.format), (3, LogFormat::Json));
}

#[test]
fn lists_of_sections_come_from_the_environment_too() {
    let secret = "x".repeat(40);
    let variables = [
        ("RALLYPOINT_AUTH__KEYS__1__ALGORITHM", "HS256"),
        ("RALLYPOINT_AUTH__KEYS__1__SECRET", &*secret),
        ("RALLYPOINT_AUTH__KEYS__1__KID", "b"),
        ("RALLYPOINT_AUTH__KEYS__0__ALGORITHM", "HS256"),
        ("RALLYPOINT_AUTH__KEYS__0__SECRET", &*secret),
        ("RALLYPOINT_AUTH__KEYS__0__KID", "a"),
        ("RALLYPOINT_AUTH__AUDIENCE", "game"),
        ("RALLYPOINT_ROOMS", "[{match = 'a/*', members = 5}]"),
    ];
    let config = load(None, env(&variables), Overrides::default()).unwrap();
    assert_eq!(config.auth.keys.len(), 2);
    assert_eq!(config.rooms[0].settings.members, 5);
    let error = |variables: &[(&str, &str)]| load(None, env(variables), DEV).map_err(|error| error.to_string());
    says(error(&[("RALLYPOINT_AUTH__KEYS__1__KID", "b")]), &["auth.keys[1].kid: there is no entry 0 before it"]);
    says(error(&[("RALLYPOINT_AUTH__KEYS__X__KID", "b")]), &["after auth.keys comes a number"]);
    says(error(&[("RALLYPOINT_LIMITS", "b")]), &["RALLYPOINT_LIMITS: limits is a section"]);
    says(error(&[("RALLYPOINT_LISTEN__X", "b")]), &["listen has no keys below it"]);
    says(error(&[("RALLYPOINT_PAGES", "yes")]), &["RALLYPOINT_PAGES: pages: must be true or false"]);
    says(error(&[("RALLYPOINT_ROOMS", "a,b")]), &["RALLYPOINT_ROOMS: rooms: must be sections, [[rooms]]"]);
}

#[test]
fn room_rules_complete_themselves_from_room() {
    let text = "room.members = 50\n[[rooms]]\nmatch = 'a/*'\nhistory_events = 9\n";
    let rule = load_text(text, &[], DEV).unwrap().rooms.remove(0).settings;
    assert_eq!((rule.members, rule.history_events, rule.typing_ms), (50, 9, 6000));
}

#[test]
fn key_files_are_found_beside_the_configuration() {
    let text =
        "[[auth.keys]]\nalgorithm = 'HS256'\nsecret_file = 'no-such-secret'\n[[auth.keys]]\nalgorithm = 'EdDSA'\n";
    let beside: PathBuf = std::env::temp_dir().join("no-such-secret");
    says(load_text(text, &[], DEV), &[&format!("cannot read {}", beside.display()), "auth.keys[1]: EdDSA needs"]);
}
