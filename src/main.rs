//! The binary: reads the command line and runs the command.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use rallypoint::{
    command::{Cli, Command, ServeArgs},
    config::{self, Config, LogFormat, Overrides},
    log::Thinned,
    server::{self, Server},
};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Fewer bytes for each idle connection and less time for each small allocation: `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Token(args) => args.run().map(|token| println!("{token}")).map_err(|error| error.to_string()),
        Command::CheckConfig(args) => args.run().map(|text| println!("{text}")).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), String> {
    let config = config::load(args.config.as_deref(), config::environment(), Overrides::from(args))
        .map_err(|error| error.to_string())?;
    log(&config)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let server = Server::bind(config).await.map_err(|error| error.to_string())?;
        if server.config().dev {
            eprintln!("{}", server::dev_warning(&server));
        }
        println!("rallypoint {} listens on {}", env!("CARGO_PKG_VERSION"), server.url());
        let stopped = stop_signal();
        tell_systemd(NotifyState::Ready);
        let stop = async {
            stopped.await;
            tell_systemd(NotifyState::Stopping);
        };
        server.run(stop).await;
        Ok(())
    })
}

fn log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log.filter).map_err(|error| format!("log.filter: {error}"))?;
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let thinned = Thinned::new(config.log.lines_per_second);
    let registry = tracing_subscriber::registry().with(filter);
    match config.log.format {
        LogFormat::Text => registry.with(lines.with_filter(thinned)).init(),
        LogFormat::Json => registry.with(lines.json().with_filter(thinned)).init(),
    }
    Ok(())
}

/// Tells a service manager that waits for it (sd_notify); without one nothing happens.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Waits for SIGTERM or SIGINT; from now on neither ends the process by itself.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut term), Ok(mut int)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
