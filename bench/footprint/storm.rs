//! Many clients connect, block and leave: does the memory come back?

use std::time::Duration;

use serde::Serialize;
use slotway_bench::failure::Failure;
use slotway_bench::process::pause;
use slotway_bench::terminal::progress;

use crate::case::Case;
use crate::cell::{gather, warm_up};
use crate::crowd::refusal;
use crate::limits::{Limit, Room};
use crate::memory::Memory;
use crate::options::Count;
use crate::target::{Running, Stage, Target};

/// Seconds after the last one left at which memory is read.
const LOOKS: [u64; 4] = [5, 10, 20, 30];

/// What a storm left behind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Storm {
    /// Clients in all.
    pub(crate) clients: u64,
    /// At once, at the most.
    pub(crate) at_once: u64,
    /// What decided how many at once.
    pub(crate) limit: Limit,
    /// Before the first came; some had been there before.
    pub(crate) start: Memory,
    /// With the first wave, which is the largest, blocked.
    pub(crate) peak: Memory,
    /// Seconds after the last one left, and memory then.
    pub(crate) after: Vec<(u64, Memory)>,
}

impl Storm {
    /// Resident memory at the last look over that at the start.
    pub(crate) fn left(&self) -> Option<f64> {
        self.after.last().map(|(_, memory)| memory.rss as f64 / self.start.rss as f64)
    }
}

/// Lets `clients` come and go; `Err` of the inner result: the target's words where it can't block.
pub(crate) fn measure(
    target: &Target,
    clients: u64,
    stage: &Stage<'_>,
) -> Result<Result<Storm, String>, Failure> {
    let one = target.start(stage)?;
    if let Some(why) = refusal(one.address, &Case::Blocked.exchange(0))? {
        return Ok(Err(why));
    }
    warm_up(&one, Case::Blocked, "storm", stage)?;
    let (at_once, limit) =
        Room::of(&one, stage.files)?.clients(Count::Exactly(clients), Case::Blocked.sockets());
    pause(Duration::from_secs(stage.options.settle), &stage.stop)?;
    let start = Memory::read(one.pid, one.address)?;
    let peak = waves(&one, clients, at_once, stage)?;
    let mut after = Vec::new();
    let mut passed = 0;
    for seconds in LOOKS {
        progress(&format!("storm: waiting until {seconds} s after the last client"));
        pause(Duration::from_secs(seconds - passed), &stage.stop)?;
        passed = seconds;
        after.push((seconds, Memory::read(one.pid, one.address)?));
    }
    Ok(Ok(Storm { clients, at_once, limit, start, peak, after }))
}

/// Memory with the first wave blocked.
fn waves(one: &Running, clients: u64, at_once: u64, stage: &Stage<'_>) -> Result<Memory, Failure> {
    let mut peak = None;
    let mut left = clients;
    while left > 0 {
        let wave = left.min(at_once.max(1));
        let place = format!("storm, {} of {clients} gone", clients - left);
        let crowd = gather(one, Case::Blocked, wave, &place, stage).map_err(Failure::at("storm"))?;
        if peak.is_none() {
            peak = Some(Memory::read(one.pid, one.address)?);
        }
        drop(crowd);
        one.wait_blocked(0, &stage.stop)?;
        left -= wave;
    }
    peak.ok_or_else(|| Failure::Unexpected("a storm of no clients".to_owned()))
}
