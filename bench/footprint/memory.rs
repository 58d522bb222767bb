//! A process's memory: what the kernel says of it, and what it says itself by INFO.

use std::net::SocketAddr;

use serde::Serialize;
use slotway_bench::accounting::mapped;
use slotway_bench::ask::ask;
use slotway_bench::failure::Failure;

/// Memory in bytes at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Memory {
    /// In memory, of all mappings.
    pub(crate) rss: u64,
    /// Only this process has it, and has written to it.
    pub(crate) private_dirty: u64,
    /// Allocated and not freed, where the process tells it.
    pub(crate) allocated: Option<u64>,
    /// Held by its allocator, where the process tells it.
    pub(crate) resident: Option<u64>,
}

/// Bytes that one client adds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct PerClient {
    /// See [`Memory::private_dirty`].
    pub(crate) private_dirty: f64,
    /// See [`Memory::allocated`].
    pub(crate) allocated: Option<f64>,
    /// See [`Memory::resident`].
    pub(crate) resident: Option<f64>,
}

impl Memory {
    /// Of the process `pid`, which answers at `address`.
    pub(crate) fn read(pid: u32, address: SocketAddr) -> Result<Self, Failure> {
        let mapped = mapped(pid)?;
        // Not every proxy knows INFO, and some pass it on to a server, whose memory is not asked for.
        let info = |section| ask(address, &["INFO", section]).unwrap_or_default();
        let own = field(&info("server"), "process_id") == Some(u64::from(pid));
        let info = if own { info("memory") } else { String::new() };
        let either = |exact: &str, rough: &str| field(&info, exact).or_else(|| field(&info, rough));
        Ok(Self {
            rss: mapped.resident,
            private_dirty: mapped.private_dirty,
            allocated: either("allocator_allocated", "used_memory"),
            resident: either("allocator_resident", "used_memory_rss"),
        })
    }

    /// What each of `clients` added that came since `earlier`.
    pub(crate) fn per_client_since(&self, earlier: &Self, clients: u64) -> PerClient {
        let share = |now: u64, then: u64| (now as f64 - then as f64) / clients.max(1) as f64;
        let told = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(now, then)| share(now, then));
        PerClient {
            private_dirty: share(self.private_dirty, earlier.private_dirty),
            allocated: told(self.allocated, earlier.allocated),
            resident: told(self.resident, earlier.resident),
        }
    }
}

/// The number in the line `name:number` of an INFO.
pub(crate) fn field(info: &str, name: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nused_memory_rss:900\r\nused_memory:700\r\nused_memory_human:7K\r\n";
        assert_eq!(field(info, "used_memory"), Some(700));
        assert_eq!(field(info, "used_memory_rss"), Some(900));
        assert_eq!(field(info, "used_memory_human"), None);
        assert_eq!(field(info, "memory"), None);
    }

    #[test]
    fn a_client_costs_its_share_of_the_difference() {
        let before = Memory { rss: 0, private_dirty: 1000, allocated: Some(500), resident: None };
        let after = Memory { rss: 0, private_dirty: 3000, allocated: Some(300), resident: Some(9) };
        let each = after.per_client_since(&before, 10);
        assert_eq!(each, PerClient { private_dirty: 200.0, allocated: Some(-20.0), resident: None });
    }
}
