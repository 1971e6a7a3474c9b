//! Arena: players move in one room of a running server; every promise of the two move lanes is
//! checked, and the way of each move is timed from the moment it was due.
//!
//! `--help` tells the options; exit code 0 means that every promise was kept.

mod check;
mod compare;
mod histogram;
mod options;
mod plan;
mod player;
mod report;
mod token;

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rallypoint_client::protocol::RoomName;
use tokio::sync::mpsc;

use crate::{
    options::{HELP, Options, Tokens},
    plan::Plan,
    player::{Player, Seen, Sent},
    report::Report,
};

/// Time for all tasks to be at their start lines.
const LEAD: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) if why.is_empty() => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(stall) = options.compare_stall {
        return match compare::run(&options, stall).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let report = run(&options).await.unwrap_or_else(Report::failed);
    if options.json {
        eprintln!("{report}");
        println!("{}", serde_json::to_string(&report).expect("a report always has a JSON form"));
    } else {
        println!("{report}");
    }
    if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(options: &Options) -> Result<Report, String> {
    let name = options.room.clone().unwrap_or_else(fresh_room);
    let room = RoomName::new(&name).map_err(|_| format!("no room can be called {name}"))?;
    let tokens = tokens(options, &name).await?;
    let mut players = Vec::with_capacity(options.players);
    for (index, token) in tokens.into_iter().enumerate() {
        players.push(Player::enter(options, index, token, &room).await?);
    }

    let plan = Plan::new(options, Instant::now() + LEAD);
    let ticks = plan.ticks();
    let last = ticks.last().map_or(0, |tick| tick.at);
    let handles: Vec<_> = players.iter().map(|player| player.handle).collect();
    players[0].stall(&plan);
    let (mut queues, mut senders, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
    for player in players {
        let (queue, due) = mpsc::channel(ticks.len() / handles.len() + 1);
        queues.push(queue);
        senders.push(tokio::spawn(player.send(&plan, options.size, due)));
        let others = handles.iter().copied().filter(|&handle| handle != player.handle).collect();
        receivers.push(tokio::spawn(player.receive(plan.clone(), others, last)));
    }
    // The pacer drops the queues when it is through, which ends the senders.
    let pacer = plan::pace(plan.clone(), ticks, queues);
    let sent = all::<Sent>(senders).await?;
    let seen = all::<Seen>(receivers).await?;
    pacer.join().map_err(|_| "the pacer panicked")?;
    Ok(Report::new(options, &plan, &name, sent, seen))
}

async fn all<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Result<Vec<T>, String> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.map_err(|error| error.to_string())?);
    }
    Ok(results)
}

/// One token for each player.
async fn tokens(options: &Options, room: &str) -> Result<Vec<String>, String> {
    let count = options.players;
    match &options.tokens {
        Tokens::One(token) => Ok(vec![token.clone(); count]),
        Tokens::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            let tokens: Vec<_> = text.split_whitespace().take(count).map(str::to_owned).collect();
            if tokens.len() == count { Ok(tokens) } else { Err(format!("{path} has {} tokens", tokens.len())) }
        }
        Tokens::From(url) => {
            let mut tokens = Vec::with_capacity(count);
            for index in 0..count {
                tokens.push(token::fetch(url, &options.origin, &format!("player-{index}"), room).await?);
            }
            Ok(tokens)
        }
    }
}

/// A room that no earlier run has used.
fn fresh_room() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("arena/{:x}-{:x}", now.as_millis(), std::process::id())
}
