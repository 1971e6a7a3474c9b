//! The machine under the server: processor, memory, disk. Asking it takes a moment and may have to wait for a disk, so
//! that is done on a thread that may.

use rustix::fs::statvfs;
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// Asks the machine again and again.
pub(crate) struct Machine {
    system: System,
    pid: Pid,
    /// Processor time that this process had used when it was last looked at, milliseconds.
    worked_ms: u64,
}

/// What it said.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) disk: Disk,
}

/// Since the reading before.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    /// Share of the whole machine that was busy, 0 to 1.
    pub(crate) usage: f64,
    /// How many processors there are.
    pub(crate) cores: usize,
    /// How many of them this process kept busy.
    pub(crate) process: f64,
    /// Averages of 1, 5 and 15 minutes.
    pub(crate) load: [f64; 3],
}

/// Bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) used: u64,
    /// Resident bytes of this process.
    pub(crate) process: u64,
}

/// The file system of the working directory, bytes, and what this process read and wrote per second.
#[derive(Debug, Serialize)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    pub(crate) used: u64,
    pub(crate) read: f64,
    pub(crate) written: f64,
}

impl Machine {
    /// Looks once, so that the first reading has something to compare with.
    pub(crate) fn new() -> Self {
        let system = System::new().expect("the platforms that this server is built for are known");
        let mut machine = Self { system, pid: Pid::from_u32(std::process::id()), worked_ms: 0 };
        machine.look();
        machine.worked_ms = machine.worked_ms();
        machine
    }

    fn look(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        // Each thread of the process as one of its own, which is the default, would be of no use.
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, kind);
    }

    fn worked_ms(&self) -> u64 {
        self.system.process(self.pid).map_or(0, Process::accumulated_cpu_time)
    }

    /// Looks again, `seconds` after the last time.
    pub(crate) fn read(&mut self, seconds: f64) -> Reading {
        self.look();
        let worked_ms = self.worked_ms();
        let worked = worked_ms.saturating_sub(std::mem::replace(&mut self.worked_ms, worked_ms));
        let process = self.system.process(self.pid);
        let load = System::load_average().map_or([0.0; 3], |load| [load.one, load.five, load.fifteen]);
        let (total, used) = statvfs(".").map_or((0, 0), |disk| {
            (disk.f_blocks * disk.f_frsize, disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize)
        });
        let moved = process.map(Process::disk_usage).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "what there is in a second")]
        let per_second = |count: u64| count as f64 / seconds;
        Reading {
            cpu: Cpu {
                usage: round(f64::from(self.system.global_cpu_usage()) / 100.0),
                cores: self.system.cpus().len(),
                process: round(per_second(worked) / 1000.0),
                load,
            },
            memory: Memory {
                total: self.system.total_memory(),
                used: self.system.used_memory(),
                process: process.map_or(0, Process::memory),
            },
            disk: Disk {
                total,
                used,
                read: round(per_second(moved.read_bytes)),
                written: round(per_second(moved.written_bytes)),
            },
        }
    }
}

/// For how many seconds this process kept a processor busy.
pub(crate) fn worked() -> Option<f64> {
    let (mut system, pid) = (System::new().ok()?, Pid::from_u32(std::process::id()));
    let kind = ProcessRefreshKind::nothing().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let seconds = system.process(pid)?.accumulated_cpu_time() as f64 / 1000.0;
    Some(seconds)
}

/// To a thousandth.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_that_works_is_seen_working() {
        let mut machine = Machine::new();
        let begin = Instant::now();
        let ballast = vec![1_u8; 32 << 20];
        while begin.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(&ballast);
        }
        let seconds = worked().unwrap();
        assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
        let Reading { cpu, memory, disk } = machine.read(begin.elapsed().as_secs_f64());
        assert!(cpu.cores > 0 && cpu.process > 0.0 && cpu.usage > 0.0 && cpu.usage <= 1.0, "{cpu:?}");
        assert!(cpu.load.iter().all(|load| *load >= 0.0), "{cpu:?}");
        assert!(memory.process > 32 << 20 && memory.process < memory.used && memory.used <= memory.total, "{memory:?}");
        assert!(disk.used > 0 && disk.used <= disk.total && disk.read >= 0.0 && disk.written >= 0.0, "{disk:?}");
        drop(ballast);
    }
}
