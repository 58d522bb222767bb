//! The kernel's accounting of processes: CPU time to the nanosecond, memory that only they use.

use std::fs;

use crate::failure::Failure;

/// CPU time that processes used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cpu {
    /// Nanoseconds on a CPU, from each thread's schedstat.
    pub nanos: u64,
    /// Clock ticks in user mode, from the process's stat.
    pub user_ticks: u64,
    /// Clock ticks in the kernel, from the process's stat.
    pub system_ticks: u64,
}

impl Cpu {
    /// What the processes `pids` used so far, all together.
    pub fn of(pids: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for &pid in pids {
            let stat = read(&format!("/proc/{pid}/stat"))?;
            let (user, system) = parse_stat(&stat).ok_or_else(|| unreadable(pid))?;
            sum.user_ticks += user;
            sum.system_ticks += system;
            sum.nanos += thread_nanos(pid)?;
        }
        Ok(sum)
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(earlier.nanos),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The share of user mode, zero to one.
    pub fn user_share(self) -> f64 {
        self.user_ticks as f64 / ((self.user_ticks + self.system_ticks) as f64).max(1.0)
    }
}

/// Clock ticks that all CPUs of the machine were busy, whoever kept them so.
pub fn machine_busy_ticks() -> Result<u64, Failure> {
    let text = read("/proc/stat")?;
    parse_busy(&text).ok_or_else(|| Failure::Unexpected("/proc/stat has an unknown form".to_owned()))
}

/// Bytes of memory that only `pid` has and that it has written to.
pub fn private_dirty(pid: u32) -> Result<u64, Failure> {
    mapped(pid).map(|mapped| mapped.private_dirty)
}

/// What a process has mapped, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// In memory, whoever shares it.
    pub resident: u64,
    /// Only this process has it, and has written to it.
    pub private_dirty: u64,
}

/// What `pid` has mapped now.
pub fn mapped(pid: u32) -> Result<Mapped, Failure> {
    let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
    parse_rollup(&text).ok_or_else(|| unreadable(pid))
}

/// How many files `pid` has open.
pub fn open_files(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).map_err(Failure::io(path))?.count() as u64)
}

/// How many files `pid` may have open.
pub fn file_limit(pid: u32) -> Result<u64, Failure> {
    let text = read(&format!("/proc/{pid}/limits"))?;
    parse_file_limit(&text).ok_or_else(|| unreadable(pid))
}

/// A thread that ended takes its nanoseconds along; what is measured here keeps its threads.
fn thread_nanos(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/task");
    let mut nanos = 0;
    for task in fs::read_dir(&path).map_err(Failure::io(path))? {
        let path = task.map_err(Failure::io("listing threads"))?.path().join("schedstat");
        if let Ok(text) = fs::read_to_string(path) {
            nanos += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(nanos)
}

/// User and system ticks: fields 14 and 15; the name in field 2 may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn parse_rollup(text: &str) -> Option<Mapped> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Mapped { resident: bytes("Rss:")?, private_dirty: bytes("Private_Dirty:")? })
}

/// The soft limit, which is the one that holds.
fn parse_file_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let word = line.split_whitespace().next()?;
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

/// The sum of the first line's fields without idle and iowait; what guests use is in user already.
fn parse_busy(text: &str) -> Option<u64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks = fields.map(|field| field.parse::<u64>().ok()).collect::<Option<Vec<u64>>>()?;
    Some(ticks.iter().enumerate().filter(|(index, _)| ![3, 4].contains(index)).map(|(_, ticks)| ticks).sum())
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::io(path))
}

fn unreadable(pid: u32) -> Failure {
    Failure::Unexpected(format!("the kernel's accounting of process {pid} has an unknown form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_behind_the_last_parenthesis() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 5 0 0 0 77 33 0 0 20 0 1 0 100";
        assert_eq!(parse_stat(stat), Some((77, 33)));
        assert_eq!(parse_stat("12 (a"), None);
    }

    #[test]
    fn the_rollup_is_in_kibibytes() {
        let text = "55e6-7ffc ---p 00000000 00:00 0   [rollup]\nRss:    9 kB\nPss: 5 kB\nPrivate_Dirty:       12 kB\n";
        assert_eq!(parse_rollup(text), Some(Mapped { resident: 9216, private_dirty: 12_288 }));
        assert_eq!(parse_rollup("Rss: 9 kB\n"), None);
        assert_eq!(parse_rollup("Rss: many kB\nPrivate_Dirty: 1 kB\n"), None);
    }

    #[test]
    fn the_soft_limit_of_files_counts() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024   20000   files\n";
        assert_eq!(parse_file_limit(text), Some(1024));
        assert_eq!(parse_file_limit("Max open files  unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(parse_file_limit("Max processes 5 5 processes"), None);
    }

    #[test]
    fn the_machine_is_busy_with_all_but_idle_and_iowait() {
        assert_eq!(parse_busy("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1"), Some(63));
        assert_eq!(parse_busy("intr 1"), None);
    }

    #[test]
    fn this_process_has_used_a_cpu() {
        let cpu = Cpu::of(&[std::process::id()]).unwrap();
        assert!(cpu.nanos > 0);
        assert!(private_dirty(std::process::id()).unwrap() > 0);
    }
}
