//! One figure of the table: a target, a kind of clients, how many.

use std::time::Duration;

use serde::Serialize;
use slotway_bench::accounting::open_files;
use slotway_bench::failure::Failure;
use slotway_bench::process::pause;

use crate::case::Case;
use crate::crowd::{Crowd, refusal};
use crate::kernel::{Slabs, SocketCost};
use crate::limits::{Limit, Room};
use crate::memory::{Memory, PerClient};
use crate::options::Count;
use crate::target::{Running, Stage, Target};

/// Clients that come before memory is first read: what the first ones cost once is not counted.
const WARM_UP: usize = 20;

/// What clients of one kind cost a target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    /// The target.
    pub(crate) target: String,
    /// Slotway's buckets.
    pub(crate) table: Option<u32>,
    /// What the clients are at.
    pub(crate) case: Case,
    /// The figures, or why there are none.
    pub(crate) outcome: Outcome,
}

/// The figures of a cell.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The target can't do it, in its own words.
    Refused(String),
    /// Measured.
    Measured(Figures),
}

/// Measured figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// How many clients there were.
    pub(crate) clients: u64,
    /// What decided how many.
    pub(crate) limit: Limit,
    /// User memory.
    pub(crate) user: PerClient,
    /// The proxy's sockets for each client.
    pub(crate) sockets: f64,
    /// What a socket costs the kernel.
    pub(crate) socket: SocketCost,
}

impl Figures {
    /// Bytes of kernel memory that one client costs at the proxy's side.
    pub(crate) fn kernel(&self) -> f64 {
        self.sockets * self.socket.bytes
    }
}

/// Measures every number of clients that is asked for; numbers that the limits make equal once. Each has a
/// fresh process, unless somebody else started it.
pub(crate) fn measure(target: &Target, case: Case, stage: &Stage<'_>) -> Result<Vec<Cell>, Failure> {
    let mut cells: Vec<Cell> = Vec::new();
    let cell = |outcome| Cell { target: target.name.clone(), table: target.table, case, outcome };
    let mut last = 0;
    for &wanted in &stage.options.counts {
        let one = target.start(stage)?;
        if let Some(why) = refusal(one.address, &case.exchange(0))? {
            return Ok(vec![cell(Outcome::Refused(why))]);
        }
        let figures = count(&one, target, case, wanted, last, stage)?;
        if let Some(figures) = figures {
            last = figures.clients;
            cells.push(cell(Outcome::Measured(figures)));
        }
    }
    Ok(cells)
}

/// `None` where the limits leave as many as there were `last`.
fn count(
    one: &Running,
    target: &Target,
    case: Case,
    wanted: Count,
    last: u64,
    stage: &Stage<'_>,
) -> Result<Option<Figures>, Failure> {
    let (clients, limit) = Room::of(one, stage.files)?.clients(wanted, case.sockets());
    if clients == last {
        return Ok(None);
    }
    let table = target.table.map_or_else(String::new, |buckets| format!(" (table {buckets})"));
    let place = format!("{}{table}, {}, {clients} clients", target.name, case.title());
    figures(one, case, clients, limit, &place, stage).map(Some).map_err(Failure::at(&place))
}

fn figures(
    one: &Running,
    case: Case,
    clients: u64,
    limit: Limit,
    place: &str,
    stage: &Stage<'_>,
) -> Result<Figures, Failure> {
    warm_up(one, case, place, stage)?;
    let before = Reading::take(one, stage)?;
    let crowd = gather(one, case, clients, place, stage)?;
    let after = Reading::take(one, stage)?;
    drop(crowd);
    if case == Case::Blocked {
        one.wait_blocked(0, &stage.stop)?;
    }
    let own = after.proxy_files.saturating_sub(before.proxy_files);
    let all = clients + own + after.server_files.saturating_sub(before.server_files);
    Ok(Figures {
        clients,
        limit,
        user: after.memory.per_client_since(&before.memory, clients),
        sockets: own as f64 / clients as f64,
        socket: after.slabs.cost_since(&before.slabs, all),
    })
}

/// Lets a few clients come, do what the case is about, and go.
pub(crate) fn warm_up(one: &Running, case: Case, place: &str, stage: &Stage<'_>) -> Result<(), Failure> {
    for case in [Case::Idle, case] {
        drop(gather(one, case, WARM_UP as u64, place, stage)?);
    }
    if case == Case::Blocked {
        one.wait_blocked(0, &stage.stop)?;
    }
    Ok(())
}

/// Connects `clients`; when it returns all of them are at what `case` is about.
pub(crate) fn gather(
    one: &Running,
    case: Case,
    clients: u64,
    place: &str,
    stage: &Stage<'_>,
) -> Result<Crowd, Failure> {
    let exchange = |number| case.exchange(number);
    let crowd = Crowd::connect(one.address, clients as usize, place, &stage.stop, exchange)?;
    if case == Case::Blocked {
        one.wait_blocked(clients, &stage.stop)?;
    }
    Ok(crowd)
}

/// Everything that is read before and after.
struct Reading {
    memory: Memory,
    slabs: Slabs,
    proxy_files: u64,
    server_files: u64,
}

impl Reading {
    fn take(one: &Running, stage: &Stage<'_>) -> Result<Self, Failure> {
        // Allocators that give back late have done so.
        pause(Duration::from_secs(stage.options.settle), &stage.stop)?;
        let server_files = one.servers.iter().map(|server| open_files(server.pid)).sum::<Result<u64, _>>()?;
        Ok(Self {
            memory: Memory::read(one.pid, one.address)?,
            slabs: Slabs::read(),
            proxy_files: open_files(one.pid)?,
            server_files,
        })
    }
}
