//! The engine that nodes share: a Redis as a process, what it says it used of the processor, and its wire (RESP2) as far
//! as it is spoken here.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::process::Process;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running Redis that keeps nothing on disk.
pub struct Engine {
    /// Where it listens.
    pub address: SocketAddr,
    /// For questions about itself.
    asks: TcpStream,
    // Ends with this value.
    _process: Process,
}

impl Engine {
    /// Starts one on some processors, and waits until it listens.
    pub fn start(cores: &[usize]) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command, cores).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                io::Error::other("redis-server is missing. On Debian: apt-get install redis-server")
            }
            _ => error,
        })?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect(address) {
                Ok(asks) => return Ok(Self { address, asks, _process: process }),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            process.check()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut socket = &self.asks;
        socket.write_all(&command(&[b"INFO", b"cpu"]))?;
        let mut bytes = Vec::new();
        loop {
            let mut more = [0; 4096];
            match socket.read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend(&more[..read]),
            }
            let Some((answer, _)) = answer(&bytes)? else { continue };
            let Answer::Text(info) = answer else { return Err(io::Error::other("INFO that is no text")) };
            return cpu_of(info).ok_or_else(|| io::Error::other("INFO that tells no processor time"));
        }
    }
}

/// The processor time in what `INFO cpu` tells: its own and the kernel's, children left out.
fn cpu_of(info: &[u8]) -> Option<Duration> {
    let info = std::str::from_utf8(info).ok()?;
    let of = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| Duration::try_from_secs_f64(value.trim().parse().ok()?).ok())
    };
    Some(of("used_cpu_sys")? + of("used_cpu_user")?)
}

/// Processor time over a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// What was used.
    pub cpu: Duration,
    /// How long it was looked at.
    pub during: Duration,
}

impl Used {
    /// What `work` uses; adds to it.
    pub fn by<T>(&mut self, engine: &Engine, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (cpu, begin) = (engine.cpu()?, Instant::now());
        let done = work()?;
        self.during += begin.elapsed();
        self.cpu += engine.cpu()? - cpu;
        Ok(done)
    }

    /// Microseconds for each of `count`, without what would have been used in that time for nothing.
    pub fn us_for_each(self, idle: Self, count: usize) -> f64 {
        let for_nothing = idle.cpu.as_secs_f64() / idle.during.as_secs_f64() * self.during.as_secs_f64();
        (self.cpu.as_secs_f64() - for_nothing) * 1e6 / count as f64
    }
}

/// A command as it is sent.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
    out
}

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A number.
    Number(u64),
    /// Bytes, or a word such as OK.
    Text(&'a [u8]),
    /// Several answers.
    List(Vec<Answer<'a>>),
}

/// The first answer in `bytes` and how long it is, once all of it is there. A refusal is an error.
pub fn answer(bytes: &[u8]) -> io::Result<Option<(Answer<'_>, usize)>> {
    let Some(line) = memmem::find(bytes, b"\r\n") else { return Ok(None) };
    let wrong = || io::Error::other(format!("Redis says {}", String::from_utf8_lossy(&bytes[..line])));
    let (&kind, rest) = bytes[..line].split_first().ok_or_else(wrong)?;
    let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong);
    let mut at = line + 2;
    let answer = match kind {
        b'+' => Answer::Text(rest),
        b':' => Answer::Number(number()?),
        b'$' => {
            let end = at + usize::try_from(number()?).map_err(io::Error::other)?;
            let Some(text) = bytes.get(at..end).filter(|_| bytes.len() >= end + 2) else { return Ok(None) };
            at = end + 2;
            Answer::Text(text)
        }
        b'*' => {
            let mut list = Vec::new();
            for _ in 0..number()? {
                let Some((each, length)) = self::answer(&bytes[at..])? else { return Ok(None) };
                list.push(each);
                at += length;
            }
            Answer::List(list)
        }
        _ => return Err(wrong()),
    };
    Ok(Some((answer, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let bytes = b"*3\r\n$7\r\nmessage\r\n$5\r\nstage\r\n$4\r\n\r\n#1\r\n:1\r\n";
        let whole = bytes.len() - 4;
        for end in 0..whole {
            assert_eq!(answer(&bytes[..end]).unwrap(), None, "{end}");
        }
        let list = vec![Answer::Text(b"message"), Answer::Text(b"stage"), Answer::Text(b"\r\n#1")];
        assert_eq!(answer(bytes).unwrap(), Some((Answer::List(list), whole)));
        assert_eq!(answer(&bytes[whole..]).unwrap(), Some((Answer::Number(1), 4)));
        assert_eq!(answer(b"+OK\r\n").unwrap(), Some((Answer::Text(b"OK"), 5)));
        for bad in [&b"-ERR no\r\n"[..], b"$-1\r\n", b":x\r\n", b"\r\n", b"HTTP/1.1 200\r\n"] {
            assert!(answer(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_command_reads_back() {
        let sent = command(&[b"PUBLISH", b"stage", b"a\r\nb"]);
        let words = vec![Answer::Text(b"PUBLISH"), Answer::Text(b"stage"), Answer::Text(b"a\r\nb")];
        assert_eq!(answer(&sent).unwrap(), Some((Answer::List(words), sent.len())));
    }

    #[test]
    fn processor_time_is_its_own_and_the_kernels() {
        let info = b"# CPU\r\nused_cpu_sys:1.250000\r\nused_cpu_user:0.500000\r\nused_cpu_sys_children:7.0\r\n\
                     used_cpu_sys_main_thread:1.0\r\n";
        assert_eq!(cpu_of(info), Some(Duration::from_millis(1750)));
        assert_eq!(cpu_of(b"# CPU\r\nused_cpu_sys:1.25\r\n"), None);
    }

    #[test]
    fn what_is_used_for_nothing_is_not_charged() {
        let used = |cpu_ms, ms| Used { cpu: Duration::from_millis(cpu_ms), during: Duration::from_millis(ms) };
        let each = used(120, 2000).us_for_each(used(10, 1000), 1000);
        assert!((each - 100.0).abs() < 1e-6, "{each}");
    }
}
