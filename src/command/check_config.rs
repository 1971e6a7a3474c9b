//! `rallypoint check-config FILE`: says what is wrong with a configuration before a restart does.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Overrides, environment, load};

/// The flags of `rallypoint check-config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckConfigArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

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
        Ok(format!("{}: ok\n{}", self.file.display(), summary(&config)))
    }
}

fn summary(config: &Config) -> String {
    let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let issuers: Vec<_> =
        config.auth.keys.iter().map(|key| key.issuer.clone().unwrap_or_else(|| "any issuer".to_owned())).collect();
    let development = if config.dev { " (development mode: its public secret opens the door)" } else { "" };
    format!(
        "  listen    {}{development}\n  metrics   {}\n  origins   {}\n  audience  {}\n  keys      {} ({})\n  \
         rooms     {} rules\n  ice       {} servers",
        config.listen,
        config.metrics_listen.map_or_else(|| "with a token".to_owned(), |address| address.to_string()),
        list(&config.origins),
        config.auth.audience.as_deref().unwrap_or("any"),
        config.auth.keys.len(),
        list(&issuers),
        config.rooms.len(),
        config.ice.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
