//! Everybody who takes part in a run.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rallypoint_client::Options;
use rallypoint_protocol::{Encoding, RoomName};
use tokio::task::JoinSet;

use super::{
    adapter::Member,
    backend::Backend,
    feeds::Feed,
    http,
    play::{self, Pace},
    watcher::Watcher,
    world::{Pacer, Room, World},
};
use crate::history::{ClientNo, LogNo, Role};

/// How many take part.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rooms.
    pub rooms: usize,
    /// Members.
    pub members: usize,
    /// In how many rooms each of them is: one or two.
    pub rooms_each: usize,
    /// Spectators on a WebSocket, each in two rooms.
    pub watchers: usize,
    /// Event streams, each of two rooms and of the user of a member.
    pub streams: usize,
    /// Long polls, likewise.
    pub polls: usize,
    /// The longest pause before one of these two comes back.
    pub pause: Duration,
    /// Back ends.
    pub backends: usize,
    /// How busy the members are.
    pub pace: Pace,
    /// Between two posts of a back end.
    pub posts: Duration,
}

impl Scale {
    /// 68 connections and six back ends: every kind of traffic at 50 a second and more.
    pub const FULL: Self = Self {
        rooms: 8,
        members: 40,
        rooms_each: 2,
        watchers: 8,
        streams: 12,
        polls: 8,
        pause: Duration::from_millis(100),
        backends: 6,
        pace: Pace {
            moves: Duration::from_millis(650),
            signals: Duration::from_millis(1200),
            talk: Duration::from_millis(900),
            stroll: Some(Duration::from_secs(15)),
        },
        posts: Duration::from_millis(150),
    };

    /// One room with few in it: a history that a person can read.
    pub const SMALL: Self = Self { rooms: 1, members: 3, watchers: 1, streams: 1, polls: 1, backends: 1, ..Self::FULL };
}

/// Those who take part, at work.
#[derive(Debug, Default)]
pub struct Cast {
    /// What ends when everybody has said the last thing.
    pub talking: JoinSet<()>,
    /// What ends when the run is over.
    pub listening: JoinSet<()>,
    /// The users that are notified.
    pub users: Vec<(String, LogNo)>,
    /// All that follow logs: who, and which.
    pub observers: Vec<(ClientNo, Vec<LogNo>)>,
}

/// Two rooms of all, or the only one.
fn two(world: &World, n: usize) -> Vec<Room> {
    let count = world.rooms.len();
    let step = 1 + (n / count) % count.saturating_sub(1).max(1);
    let (first, second) = (n % count, (n + step) % count);
    let second = (second != first).then(|| world.rooms[second].clone());
    std::iter::once(world.rooms[first].clone()).chain(second).collect()
}

impl Cast {
    /// Lets everybody in. Tokens come from the server itself; everything else goes through the proxies.
    pub async fn enter(world: &Arc<World>, server: SocketAddr, scale: &Scale) -> io::Result<Self> {
        let (talking, listening) = (JoinSet::new(), JoinSet::new());
        let mut cast = Self { talking, listening, users: Vec::new(), observers: Vec::new() };
        cast.members(world, server, scale).await?;
        cast.spectators(world, server, scale).await?;
        for n in 0..scale.backends {
            let no = world.recorder.client(&format!("backend-{n}"), Role::Backend);
            let token = http::token(server, &format!("backend-{n}")).await?;
            let mut backend = Backend::new(world, no, n, token, cast.users.clone());
            let mut seed = world.seed(no, 0);
            let mut pacer = Pacer::new(world, &mut seed, scale.posts);
            cast.talking.spawn(async move {
                while pacer.next().await {
                    backend.act(&mut seed).await;
                }
            });
        }
        Ok(cast)
    }

    async fn members(&mut self, world: &Arc<World>, server: SocketAddr, scale: &Scale) -> io::Result<()> {
        let mut members = Vec::new();
        for n in 0..scale.members {
            let user = format!("member-{n}");
            let (no, own) = (world.recorder.client(&user, Role::Member), user_log(world, &user));
            let mut rooms = two(world, n);
            rooms.truncate(scale.rooms_each);
            let token = http::token(server, &user).await?;
            let encoding = if n % 2 == 0 { Encoding::MsgPack } else { Encoding::Json };
            let options = Options { encoding, ..Options::new(format!("http://{}", world.door(n)), token) };
            let member = Member::new(world, no, own, rooms, options);
            let logs = member.rooms.iter().map(|room| room.log).chain([own]).collect();
            self.observers.push((no, logs));
            self.users.push((user, own));
            self.listening.spawn(Arc::clone(&member).keep());
            members.push(member);
        }
        for (n, member) in members.iter().enumerate() {
            // Most stay where they are, so that there are long histories without a break.
            let pace = Pace { stroll: scale.pace.stroll.filter(|_| n % 4 == 3), ..scale.pace };
            play::start(&mut self.talking, member, pace, |room| {
                let here = members.iter().filter(|other| other.rooms.iter().any(|own| own.log == room.log));
                here.map(|other| other.no).filter(|&no| no != member.no).collect()
            });
        }
        Ok(())
    }

    async fn spectators(&mut self, world: &Arc<World>, server: SocketAddr, scale: &Scale) -> io::Result<()> {
        for n in 0..scale.watchers {
            let user = format!("watcher-{n}");
            let (no, own) = (world.recorder.client(&user, Role::Watcher), user_log(world, &user));
            let token = http::token(server, &user).await?;
            let encoding = if n % 2 == 0 { Encoding::Json } else { Encoding::MsgPack };
            let rooms = two(world, n);
            self.observers.push((no, rooms.iter().map(|room| room.log).chain([own]).collect()));
            self.users.push((user, own));
            self.listening.spawn(Watcher::new(world, no, n, own, rooms, token, encoding).keep());
        }
        for n in 0..scale.streams + scale.polls {
            let (role, n) = if n < scale.streams { (Role::Stream, n) } else { (Role::Poll, n - scale.streams) };
            // The user of a member, so that one user's log is followed in several ways at once.
            let (user, own) = self.users[n % scale.members].clone();
            let no = world.recorder.client(&format!("{}-{n}", role.name()), role);
            let token = http::token(server, &user).await?;
            let mut logs: Vec<_> = two(world, n).into_iter().map(|room| (room.name, room.log)).collect();
            let name = RoomName::new(&format!("user/{user}")).map_err(|_| io::ErrorKind::InvalidInput)?;
            logs.push((name, own));
            self.observers.push((no, logs.iter().map(|&(_, log)| log).collect()));
            let feed = Feed { no, door: world.door(n), world: Arc::clone(world), token, logs, pause: scale.pause };
            match role {
                Role::Stream => self.listening.spawn(feed.stream()),
                _ => self.listening.spawn(feed.poll()),
            };
        }
        Ok(())
    }
}

fn user_log(world: &World, user: &str) -> LogNo {
    world.recorder.log(&format!("user/{user}"))
}
