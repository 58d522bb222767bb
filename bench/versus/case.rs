//! What is measured, and the goals: the rows of the table.

use slotway_bench::load::generator::Plan;
use slotway_bench::load::workload::{Mix, Workload};

/// 100,000 keys with values of 64 bytes, four reads for each write.
const SMALL: Workload = Workload { prefix: "key:", keys: 100_000, value_bytes: 64, mix: Mix::GetSet(80) };

/// 10,000 keys (160 MB) are enough to leave every cache.
const BIG: Workload = Workload { prefix: "big:", keys: 10_000, value_bytes: 16_384, mix: Mix::GetSet(80) };

/// A row of the table: what is asked, how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// As `--case` takes it.
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) title: &'static str,
    /// Who asks what. The idle case takes only keys and values from it.
    pub(crate) plan: Plan,
    /// How it is measured.
    pub(crate) kind: Kind,
}

/// How a case is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Under load.
    Load {
        /// Requests of a round unless told otherwise: about two seconds or more, 1 % of which is a clock
        /// tick of the user/system split.
        requests: u64,
        /// Whether redis-benchmark can ask much the same.
        second_generator: bool,
    },
    /// Memory of idle connections.
    Idle,
}

const fn plan(clients: usize, pipeline: usize, workload: Workload) -> Plan {
    Plan { clients, pipeline, workload }
}

/// Every case, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "p1-c50",
        title: "50 clients, pipeline 1",
        plan: plan(50, 1, SMALL),
        kind: Kind::Load { requests: 200_000, second_generator: true },
    },
    Case {
        name: "p1-c1000",
        title: "1,000 clients, pipeline 1",
        plan: plan(1000, 1, SMALL),
        kind: Kind::Load { requests: 200_000, second_generator: true },
    },
    Case {
        name: "p16-c50",
        title: "50 clients, pipeline 16",
        plan: plan(50, 16, SMALL),
        kind: Kind::Load { requests: 1_000_000, second_generator: true },
    },
    Case {
        name: "mget10",
        title: "50 clients, MGET of 10 keys",
        plan: plan(50, 1, Workload { mix: Mix::Mget(10), ..SMALL }),
        kind: Kind::Load { requests: 100_000, second_generator: false },
    },
    Case {
        name: "value16k",
        title: "50 clients, 16 KiB values",
        plan: plan(50, 1, BIG),
        kind: Kind::Load { requests: 100_000, second_generator: false },
    },
    Case { name: "idle", title: "idle clients", plan: plan(1, 1, SMALL), kind: Kind::Idle },
];

/// A figure that goals speak of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// The proxy's CPU time a request.
    ProxyCpu,
    /// The CPU time of all backends a request.
    BackendCpu,
    /// The proxy's private dirty memory an idle client.
    IdleBytes,
}

/// What Slotway is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The case's name.
    pub(crate) case: &'static str,
    /// Of which figure.
    pub(crate) measure: Measure,
    /// The peer that it is divided by; `None`: the figure itself.
    pub(crate) peer: Option<&'static str>,
    /// The largest value that passes.
    pub(crate) limit: f64,
}

const fn cpu(case: &'static str, peer: &'static str, limit: f64) -> Goal {
    Goal { case, measure: Measure::ProxyCpu, peer: Some(peer), limit }
}

/// Every goal.
pub(crate) const GOALS: &[Goal] = &[
    cpu("p1-c50", "twemproxy", 0.95),
    cpu("p1-c50", "envoy", 0.70),
    cpu("p1-c1000", "twemproxy", 0.70),
    cpu("p1-c1000", "envoy", 0.60),
    Goal { case: "p1-c1000", measure: Measure::BackendCpu, peer: Some("direct"), limit: 0.35 },
    cpu("p16-c50", "twemproxy", 0.35),
    cpu("p16-c50", "envoy", 0.35),
    cpu("mget10", "twemproxy", 0.80),
    cpu("value16k", "twemproxy", 0.95),
    Goal { case: "idle", measure: Measure::IdleBytes, peer: None, limit: 1000.0 },
];

impl Measure {
    /// For the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ProxyCpu => "proxy CPU",
            Self::BackendCpu => "backend CPU",
            Self::IdleBytes => "bytes/client",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_speaks_of_a_case() {
        assert!(GOALS.iter().all(|goal| CASES.iter().any(|case| case.name == goal.case)));
    }
}
