//! The goals, and whether they were met.

use serde::Serialize;

use crate::case::Case;
use crate::cell::{Cell, Figures, Outcome};
use crate::leaving::Leaving;
use crate::storm::Storm;
use crate::target::{OURS, OWN_TABLE};

/// Bytes are judged at so many clients, or at the most that the limits allow below.
const JUDGED_AT: u64 = 10_000;
/// The large table whose cost is compared.
const LARGE_TABLE: u32 = 16_384;

/// Everything that a run measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Bytes a client.
    pub(crate) cells: Vec<Cell>,
    /// After a storm; `Err`: the proxy's words where it can't block.
    pub(crate) storm: Option<Result<Storm, String>>,
    /// Leaving clients; `Err` likewise.
    pub(crate) leaving: Option<Result<Leaving, String>>,
}

/// A goal with what was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// What is judged.
    pub(crate) name: &'static str,
    /// What must be reached.
    pub(crate) goal: Bound,
    /// What would be better still.
    pub(crate) stretch: Option<f64>,
    /// What was; `None`: not measured.
    pub(crate) value: Option<f64>,
    /// Whether that is enough.
    pub(crate) met: Option<bool>,
}

/// The side of a number that is good.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
}

/// A cost of the large table over that of the small one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// What the clients are at.
    pub(crate) case: Case,
    /// How many.
    pub(crate) clients: u64,
    /// Of allocated bytes.
    pub(crate) allocated: Option<f64>,
    /// Of the allocator's resident bytes.
    pub(crate) resident: Option<f64>,
    /// Of private dirty memory.
    pub(crate) private_dirty: Option<f64>,
}

/// Every goal.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let bytes = |case| judged(&results.cells, case, OWN_TABLE).map(|one| one.user.private_dirty);
    let mut blocked = ratios(&results.cells).into_iter().filter(|one| one.case == Case::Blocked);
    let ratio = blocked.rfind(|one| one.clients <= JUDGED_AT).and_then(|one| one.allocated);
    let storm = results.storm.as_ref().and_then(|one| one.as_ref().ok()?.left());
    let leaving = results.leaving.as_ref().and_then(|one| one.as_ref().ok()).map(|one| one.proxy.p99_ms);
    let most = Bound::AtMost;
    vec![
        verdict("blocked client, bytes", most(1600.0), Some(1024.0), bytes(Case::Blocked)),
        verdict("idle client, bytes", most(700.0), Some(400.0), bytes(Case::Idle)),
        verdict("subscribed client, bytes", most(1200.0), Some(700.0), bytes(Case::Subscribed)),
        verdict("own channel, bytes", most(1200.0), Some(700.0), bytes(Case::SubscribedDistinct)),
        verdict("table 16,384 / 16, allocated", Bound::AtLeast(20.0), None, ratio),
        verdict("RSS 30 s after storm / start", most(1.2), None, storm),
        verdict("client FIN to backend FIN, p99 ms", most(2.0), None, leaving),
    ]
}

/// The large table's cost over the small one's, for each kind and number of clients that both were measured
/// with.
pub(crate) fn ratios(cells: &[Cell]) -> Vec<Ratio> {
    let ours = |table| {
        let of_table = move |cell: &&Cell| cell.target == OURS && cell.table == Some(table);
        cells.iter().filter(of_table).filter_map(|cell| Some((cell.case, measured(cell)?)))
    };
    let pair = |(case, small): (Case, &Figures)| {
        let same = |one: &(Case, &Figures)| one.0 == case && close(one.1.clients, small.clients);
        let (_, large) = ours(LARGE_TABLE).find(same)?;
        let over = |large: Option<f64>, small: Option<f64>| large.zip(small).and_then(|(a, b)| divide(a, b));
        Some(Ratio {
            case,
            clients: small.clients,
            allocated: over(large.user.allocated, small.user.allocated),
            resident: over(large.user.resident, small.user.resident),
            private_dirty: divide(large.user.private_dirty, small.user.private_dirty),
        })
    };
    ours(OWN_TABLE).filter_map(pair).collect()
}

/// The figures of Slotway with `table`, at the number of clients that goals are judged at.
fn judged(cells: &[Cell], case: Case, table: u32) -> Option<&Figures> {
    let ours =
        cells.iter().filter(|cell| cell.target == OURS && cell.case == case && cell.table == Some(table));
    ours.filter_map(measured)
        .filter(|figures| figures.clients <= JUDGED_AT)
        .max_by_key(|figures| figures.clients)
}

fn measured(cell: &Cell) -> Option<&Figures> {
    if let Outcome::Measured(figures) = &cell.outcome { Some(figures) } else { None }
}

/// A run more or less of other files moves the largest number of clients a little.
fn close(a: u64, b: u64) -> bool {
    a.abs_diff(b) * 100 <= a.max(b)
}

fn divide(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

fn verdict(name: &'static str, goal: Bound, stretch: Option<f64>, value: Option<f64>) -> Verdict {
    let met = value.map(|value| match goal {
        Bound::AtMost(most) => value <= most,
        Bound::AtLeast(least) => value >= least,
    });
    Verdict { name, goal, stretch, value, met }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SocketCost;
    use crate::limits::Limit;
    use crate::memory::PerClient;

    fn cell(table: u32, case: Case, clients: u64, bytes: f64) -> Cell {
        let user = PerClient { private_dirty: bytes, allocated: Some(bytes * 2.0), resident: None };
        let socket = SocketCost { bytes: 3900.0, accounted: None };
        let figures = Figures { clients, limit: Limit::Asked, user, sockets: 2.0, socket };
        Cell { target: OURS.to_owned(), table: Some(table), case, outcome: Outcome::Measured(figures) }
    }

    #[test]
    fn tables_are_compared_at_the_same_number_of_clients() {
        let cells = [
            cell(16, Case::Blocked, 1000, 1500.0),
            cell(16, Case::Blocked, 9940, 1000.0),
            cell(16_384, Case::Blocked, 9938, 30_000.0),
        ];
        let ratios = ratios(&cells);
        let wanted = Ratio {
            case: Case::Blocked,
            clients: 9940,
            allocated: Some(30.0),
            resident: None,
            private_dirty: Some(30.0),
        };
        assert_eq!(ratios, [wanted]);
    }

    #[test]
    fn goals_are_judged_by_the_small_table_at_ten_thousand_clients_or_the_most_below() {
        let results = Results {
            cells: vec![
                cell(16, Case::Idle, 1000, 100.0),
                cell(16, Case::Idle, 10_000, 701.0),
                cell(16, Case::Idle, 19_800, 100.0),
                cell(16, Case::Blocked, 9940, 1600.0),
                cell(16_384, Case::Blocked, 9940, 31_999.0),
            ],
            ..Results::default()
        };
        let met =
            |name: &str| verdicts(&results).into_iter().find(|one| one.name.starts_with(name)).unwrap().met;
        assert_eq!(met("idle"), Some(false));
        assert_eq!(met("blocked"), Some(true));
        assert_eq!(met("subscribed"), None);
        assert_eq!(met("table"), Some(false));
    }
}
