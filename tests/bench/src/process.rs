//! A server as a process: where it runs, what it used of the processor and of memory, as the operating system counts.

use std::{
    io,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

/// Binds the calling thread, and what it starts, to some processors.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command on some processors. A process inherits those of the thread that starts it.
    pub fn start(command: &mut Command, cores: &[usize]) -> io::Result<Self> {
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                pin(cores)?;
                command.spawn()
            });
            let child = starting.join().map_err(|_| io::Error::other("the starting thread panicked"))??;
            Ok(Self { child })
        })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote, if its output was piped.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(io::Error::other(format!("the server has ended: {status}"))),
            None => Ok(()),
        }
    }

    /// The process and those that it started: nginx works in another one than the first.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.id()];
        let mut next = 0;
        while let Some(&id) = family.get(next) {
            next += 1;
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        family
    }

    /// Processor time that it has used, all threads.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for id in self.family() {
            for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
                // A thread may end while we look.
                let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
                nanos += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident bytes. `smaps_rollup` counts pages; `statm` is an estimate.
    pub fn memory(&self) -> io::Result<usize> {
        let mut bytes = 0;
        for id in self.family() {
            let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
            bytes += 1024 * kib.ok_or_else(|| io::Error::other("no Rss"))?;
        }
        Ok(bytes)
    }

    /// Resident bytes once it has done nothing for a while.
    pub fn quiet_memory(&self, patience: Duration) -> io::Result<usize> {
        let deadline = Instant::now() + patience;
        let mut last = (self.cpu()?, self.memory()?);
        let mut quiet = 0;
        while quiet < 6 {
            if Instant::now() > deadline {
                return Err(io::Error::other("the server does not become quiet"));
            }
            std::thread::sleep(Duration::from_millis(250));
            let now = (self.cpu()?, self.memory()?);
            let same = now.0 - last.0 < Duration::from_millis(10) && now.1 == last.1;
            quiet = if same { quiet + 1 } else { 0 };
            last = now;
        }
        Ok(last.1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx and npm's programs end their own children when they are asked, not when they are killed.
        let id = rustix::process::Pid::from_child(&self.child);
        _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Processor time of this process so far.
pub fn own_cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}
