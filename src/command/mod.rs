//! The command line: what `rallypoint` understands. `main` parses it and runs the command.

pub mod check_config;
pub mod token;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{
    broker::{BadEngine, Engine},
    config::{LogFormat, Overrides},
};

/// WebRTC signaling and game-state relay: rooms, moves, events, one port.
#[derive(Debug, Parser)]
#[command(name = "rallypoint", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rallypoint serve --dev                        try it out on http://127.0.0.1:3000
  rallypoint serve --config rallypoint.toml     run it
  rallypoint check-config rallypoint.toml       look for mistakes before a restart
  rallypoint token --user ada                   a token for the server started with --dev";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Make a token and print it
    Token(token::TokenArgs),
    /// Check a configuration file without starting
    CheckConfig(check_config::CheckConfigArgs),
}

/// The flags of `rallypoint serve`.
#[derive(Debug, Default, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct ServeArgs {
    /// Try things out: accept the public development secret and pages from localhost
    #[arg(long)]
    pub dev: bool,
    /// Allow --dev on an address that others can reach
    #[arg(long)]
    pub dev_insecure: bool,
    /// Where to listen [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// The configuration file; rallypoint.example.toml explains it
    #[arg(long, value_name = "FILE", env = "RALLYPOINT_CONFIG")]
    pub config: Option<PathBuf>,
    /// A loopback address that serves /metrics without a token
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Share rooms with other nodes: memory, redis://HOST:PORT, rediss://HOST:PORT, or nodes of a cluster with commas
    /// between them [default: memory]
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    pub engine: Option<String>,
    /// Speak TLS with this certificate: PEM, the server's own first
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

const SERVE_EXAMPLES: &str = "\
Flags go over the environment (RALLYPOINT_LISTEN, RALLYPOINT_LIMITS__FRAME, ...), which goes over
the file.

Examples:
  rallypoint serve --dev
  rallypoint serve --dev --listen 127.0.0.1:3100
  rallypoint serve --config /etc/rallypoint.toml --listen 0.0.0.0:3000
  rallypoint serve --config /etc/rallypoint.toml --engine redis://10.0.0.5:6379
  RALLYPOINT_ORIGINS=https://app.example rallypoint serve --config rallypoint.toml";

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address in figures and a port, such as 127.0.0.1:3000 or 0.0.0.0:3000")
}

fn engine(text: &str) -> Result<String, BadEngine> {
    text.parse::<Engine>().map(|_| text.to_owned())
}

impl From<&ServeArgs> for Overrides {
    fn from(args: &ServeArgs) -> Self {
        Self {
            dev: args.dev,
            dev_insecure: args.dev_insecure,
            listen: args.listen,
            metrics_listen: args.metrics_listen,
            engine: args.engine.clone(),
            tls_certificate: args.tls_certificate.clone(),
            tls_key: args.tls_key.clone(),
            log_format: args.log_format,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_flags_become_overrides() {
        let words = ["rallypoint", "serve", "--dev", "--listen", "0.0.0.0:1", "--log-format", "json"];
        let Ok(Cli { command: Command::Serve(args) }) = Cli::try_parse_from(words) else { panic!("must parse") };
        let overrides = Overrides::from(&args);
        assert!(overrides.dev && !overrides.dev_insecure);
        assert_eq!(overrides.listen, Some(SocketAddr::from(([0, 0, 0, 0], 1))));
        assert_eq!(overrides.log_format, Some(LogFormat::Json));
        for half in ["3100", "localhost:3100", "127.0.0.1"] {
            let Err(error) = Cli::try_parse_from(["rallypoint", "serve", "--listen", half]) else { panic!("{half}") };
            assert!(error.to_string().contains("such as 127.0.0.1:3000"), "{error}");
        }
    }
}
