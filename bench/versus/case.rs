//! What is measured, and the goals: the rows of the table.

use std::time::Duration;

use slotway_bench::load::generator::Plan;
use slotway_bench::load::workload::{Content, Mix, Workload};

/// 100,000 keys with values of 64 bytes, four reads for each write.
const SMALL: Workload =
    Workload { prefix: "key:", keys: 100_000, content: Content::Value(64), mix: Mix::GetSet(80) };

/// 10,000 keys (160 MB) are enough to leave every cache.
const BIG: Workload =
    Workload { prefix: "big:", keys: 10_000, content: Content::Value(16_384), mix: Mix::GetSet(80) };

/// 10,000 sets of ten integers in 5,000 pairs, both of a pair in one slot.
const TAGGED_SETS: Workload =
    Workload { prefix: "tagged:", keys: 10_000, content: Content::TaggedSet, mix: Mix::Union };

/// The same with each in a slot of its own.
const SETS: Workload = Workload { prefix: "set:", content: Content::Set, ..TAGGED_SETS };

/// As many vectors as a server compares in some ten microseconds: the proxy's part stays visible.
const VECTORS: Workload =
    Workload { prefix: VECTOR_PREFIX, keys: 3_000, content: Content::Vector, mix: Mix::Nearest };

/// What the names of all hashes with vectors begin with.
pub(crate) const VECTOR_PREFIX: &str = "vector:";

/// A table: what is asked, how often.
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
    /// What the servers have beside keys.
    pub(crate) needs: Needs,
    /// The targets that can't take part, each with the reason; of others it is seen when they are asked.
    pub(crate) without: &'static [(&'static str, &'static str)],
}

/// What is prepared at the servers before keys are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// The script, at each of them.
    Script,
    /// Servers that can search, in a cluster of their own, and an index.
    Search,
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
    Plan { clients, pipeline, user: None, pause: Duration::ZERO, workload }
}

/// A case under load that anybody can take part in.
const fn load(name: &'static str, title: &'static str, requests: u64, plan: Plan) -> Case {
    let kind = Kind::Load { requests, second_generator: false };
    Case { name, title, plan, kind, needs: Needs::Nothing, without: &[] }
}

/// The same, and redis-benchmark can ask it too.
const fn asked_by_both(name: &'static str, title: &'static str, requests: u64, plan: Plan) -> Case {
    Case { kind: Kind::Load { requests, second_generator: true }, ..load(name, title, requests, plan) }
}

const MGET: Workload = Workload { mix: Mix::Mget(10), ..SMALL };
const SCRIPT: Workload = Workload { mix: Mix::Script, ..SMALL };

/// Every case, in the order of the report.
pub(crate) const CASES: &[Case] = &[
    asked_by_both("p1-c50", "50 clients, pipeline 1", 200_000, plan(50, 1, SMALL)),
    asked_by_both("p1-c1000", "1,000 clients, pipeline 1", 200_000, plan(1000, 1, SMALL)),
    asked_by_both("p16-c50", "50 clients, pipeline 16", 1_000_000, plan(50, 16, SMALL)),
    load("mget10", "50 clients, MGET of 10 keys", 100_000, plan(50, 1, MGET)),
    load("value16k", "50 clients, 16 KiB values", 100_000, plan(50, 1, BIG)),
    Case {
        needs: Needs::Script,
        ..load("evalsha", "50 clients, EVALSHA of a script that GETs its key", 100_000, plan(50, 1, SCRIPT))
    },
    load("sunion-slot", "50 clients, SUNION of two sets in one slot", 100_000, plan(50, 1, TAGGED_SETS)),
    Case {
        without: &[
            ("twemproxy", "sends SUNION whole to the server of its first key"),
            ("direct", "a node takes no keys of two slots"),
        ],
        ..load("sunion-cross", "50 clients, SUNION of two sets in two slots", 50_000, plan(50, 1, SETS))
    },
    Case {
        needs: Needs::Search,
        without: &[
            ("slotway-shards", "the servers that search are a cluster"),
            ("twemproxy", NO_SEARCH),
            ("envoy", NO_SEARCH),
        ],
        ..load("knn", "50 clients, FT.SEARCH of the 10 nearest vectors", 20_000, plan(50, 1, VECTORS))
    },
    Case { kind: Kind::Idle, ..load("idle", "idle clients", 0, plan(1, 1, SMALL)) },
];

const NO_SEARCH: &str = "knows no FT.SEARCH";

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

impl Case {
    /// Why `target` can't take part.
    pub(crate) fn bars(&self, target: &str) -> Option<&'static str> {
        self.without.iter().find(|(name, _)| *name == target).map(|(_, reason)| *reason)
    }
}

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
    use crate::contender::BUILT_IN;

    #[test]
    fn every_goal_speaks_of_a_case() {
        assert!(GOALS.iter().all(|goal| CASES.iter().any(|case| case.name == goal.case)));
    }

    #[test]
    fn whom_a_case_bars_is_a_target_and_slotway_never_is() {
        let barred = CASES.iter().flat_map(|case| case.without).map(|(name, _)| *name);
        assert!(barred.clone().all(|name| BUILT_IN.contains(&name)));
        assert!(barred.clone().all(|name| name != "slotway"));
    }

    #[test]
    fn sets_come_in_pairs_and_keys_of_one_prefix_hold_the_same() {
        for case in CASES {
            let workload = case.plan.workload;
            assert!(workload.mix != Mix::Union || workload.keys % 2 == 0, "{}", case.name);
            let alike = |other: &&Case| other.plan.workload.prefix == workload.prefix;
            assert!(CASES.iter().filter(alike).all(|other| {
                other.plan.workload.content == workload.content && other.plan.workload.keys == workload.keys
            }));
        }
    }
}
