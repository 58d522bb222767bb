//! Refresh: when to ask for the topology again, which node to ask, and whether to believe the answer.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::slot_map::Endpoint;

/// When to ask.
///
/// There is a periodic refresh, and refreshes for a reason (a redirect, a lost node). The latter keep a
/// shortest pause: reasons that come up meanwhile are remembered and lead to exactly one refresh after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    interval: Duration,
    min_interval: Duration,
    /// When to refresh without a reason.
    due: Instant,
    /// When the last refresh began, to keep the pause.
    began: Option<Instant>,
    /// Whether there was a reason since then.
    wanted: bool,
}

impl Schedule {
    /// The first refresh is due at `now`.
    #[must_use]
    pub fn new(interval: Duration, min_interval: Duration, now: Instant) -> Self {
        Self { interval, min_interval, due: now, began: None, wanted: false }
    }

    /// From here on with these pauses: the next refresh is due after the new interval at the latest.
    pub fn set_pauses(&mut self, interval: Duration, min_interval: Duration, now: Instant) {
        self.due = self.due.min(now + interval);
        (self.interval, self.min_interval) = (interval, min_interval);
    }

    /// There is a reason to refresh.
    pub fn on_request(&mut self) {
        self.wanted = true;
    }

    /// A refresh begins; only reasons from here on ask for another one.
    pub fn on_begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.wanted = false;
    }

    /// A refresh succeeded: the next is due after the interval, give or take a tenth by `random` (0 to 1),
    /// so that the proxies of a fleet do not ask in step.
    pub fn on_success(&mut self, now: Instant, random: f64) {
        self.due = now + self.interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0));
    }

    /// A refresh failed: the next is due after `pause`, or after the interval if that is sooner.
    pub fn on_failure(&mut self, now: Instant, pause: Duration) {
        self.due = now + pause.min(self.interval);
    }

    /// When to begin the next refresh; in the past if it should have begun.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        match self.began {
            Some(began) if self.wanted => self.due.min(began + self.min_interval),
            _ => self.due,
        }
    }
}

/// Which node to ask: the nodes of the last topology in turn, then the seeds. One that failed comes last,
/// seeds included, until it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidates {
    seeds: Vec<Endpoint>,
    all: Vec<Candidate>,
    /// Counts the questions, to take turns.
    turn: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Candidate {
    endpoint: Endpoint,
    origin: Origin,
    /// Failures since it last answered.
    failures: u32,
    /// The turn it was last asked in.
    asked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Origin {
    Topology,
    Seed,
}

impl Candidates {
    /// Knows the seeds only.
    #[must_use]
    pub fn new(seeds: &[Endpoint]) -> Self {
        let mut candidates = Self { seeds: seeds.to_vec(), all: Vec::new(), turn: 0 };
        candidates.learn(&[]);
        candidates
    }

    /// From here on these are the seeds.
    pub fn set_seeds(&mut self, seeds: &[Endpoint]) {
        self.seeds = seeds.to_vec();
        let nodes: Vec<_> = self.all.iter().filter(|node| node.origin == Origin::Topology).collect();
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.endpoint.clone()).collect();
        self.learn(&nodes);
    }

    /// Takes over the nodes of a new topology; what is known of a node that stays is kept.
    pub fn learn(&mut self, nodes: &[Endpoint]) {
        let nodes = nodes.iter().map(|node| (node, Origin::Topology));
        let seeds = self.seeds.iter().map(|seed| (seed, Origin::Seed));
        let before = self.all.drain(..).map(|old| (old.endpoint, (old.failures, old.asked)));
        let before: HashMap<Endpoint, (u32, u64)> = before.collect();
        let mut seen = HashSet::new();
        for (endpoint, origin) in nodes.chain(seeds).filter(|(endpoint, _)| seen.insert(*endpoint)) {
            let (failures, asked) = before.get(endpoint).copied().unwrap_or_default();
            self.all.push(Candidate { endpoint: endpoint.clone(), origin, failures, asked });
        }
    }

    /// The node to ask now; `None` only where there is neither node nor seed.
    pub fn choose(&mut self) -> Option<Endpoint> {
        self.turn += 1;
        let next = self.all.iter_mut().min_by_key(|node| (node.failures, node.origin, node.asked))?;
        next.asked = self.turn;
        Some(next.endpoint.clone())
    }

    /// `endpoint` answered.
    pub fn on_success(&mut self, endpoint: &Endpoint) {
        self.note(endpoint, |_| 0);
    }

    /// `endpoint` did not answer, or not usefully. True the first time, that is where it did before.
    pub fn on_failure(&mut self, endpoint: &Endpoint) -> bool {
        self.note(endpoint, |failures| failures.saturating_add(1)) == Some(1)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn note(&mut self, endpoint: &Endpoint, failures: impl Fn(u32) -> u32) -> Option<u32> {
        let node = self.all.iter_mut().find(|node| node.endpoint == *endpoint)?;
        node.failures = failures(node.failures);
        Some(node.failures)
    }
}

/// What a node's answer says about how well it sees its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// How many slots have a primary.
    pub served: u16,
    /// `cluster_current_epoch`; 0 where the server does not tell.
    pub epoch: u64,
    /// `cluster_state`; true where the server does not tell.
    pub healthy: bool,
}

impl View {
    /// A view of `served` slots, and of what the node's CLUSTER INFO says.
    #[must_use]
    pub fn new(served: u16, cluster_info: &str) -> Self {
        let line = |key: &str| {
            cluster_info.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
        };
        let epoch = line("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Self { served, epoch, healthy: line("cluster_state").is_none_or(|state| state == "ok") }
    }
}

/// Whether to believe an answer.
///
/// A node cut off from the others goes on telling of the cluster as it was, so a worse view (fewer slots
/// served, a lower epoch, a failed state after a good one) does not replace a better one until
/// [`DOUBTS`] answers in a row were worse: then the cluster *is* worse, or was made anew. A first view is
/// always believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Judge {
    believed: Option<View>,
    doubts: u32,
}

/// What to do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Take it over.
    Believe,
    /// Keep the old one and ask another node.
    Doubt,
}

/// How many answers in a row are doubted before one is believed: enough to have asked another node twice.
pub const DOUBTS: u32 = 2;

impl Judge {
    /// Judges a node's view.
    pub fn on_view(&mut self, view: View) -> Verdict {
        let worse = self.believed.is_some_and(|best| {
            view.served < best.served || view.epoch < best.epoch || (best.healthy && !view.healthy)
        });
        if worse && self.doubts < DOUBTS {
            self.doubts += 1;
            return Verdict::Doubt;
        }
        self.doubts = 0;
        self.believed = Some(view);
        Verdict::Believe
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for the tests' instants, which are all arguments")]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const MIN: Duration = Duration::from_secs(1);

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    #[test]
    fn the_periodic_refresh_comes_after_the_interval_give_or_take_a_tenth() {
        let now = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, MIN, now);
        assert_eq!(schedule.next_deadline(), now);
        schedule.on_begin(now);
        schedule.on_success(now, 0.0);
        assert_eq!(schedule.next_deadline(), now + INTERVAL.mul_f64(0.9));
        schedule.on_success(now, 1.0);
        assert_eq!(schedule.next_deadline(), now + INTERVAL.mul_f64(1.1));
    }

    #[test]
    fn reasons_during_the_pause_lead_to_exactly_one_refresh() {
        let now = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, MIN, now);
        schedule.on_begin(now);
        schedule.on_request();
        schedule.on_success(now, 0.5);
        schedule.on_request();
        assert_eq!(schedule.next_deadline(), now + MIN);
        schedule.on_begin(now + MIN);
        schedule.on_success(now + MIN, 0.5);
        assert_eq!(schedule.next_deadline(), now + MIN + INTERVAL);
    }

    #[test]
    fn a_reason_after_the_pause_is_due_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, MIN, now);
        schedule.on_begin(now);
        schedule.on_success(now, 0.5);
        schedule.on_request();
        assert!(schedule.next_deadline() <= now + MIN * 3);
    }

    #[test]
    fn a_failed_refresh_is_tried_again_after_the_pause() {
        let now = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, MIN, now);
        schedule.on_begin(now);
        schedule.on_failure(now, Duration::from_millis(50));
        assert_eq!(schedule.next_deadline(), now + Duration::from_millis(50));
        schedule.on_failure(now, Duration::from_secs(60));
        assert_eq!(schedule.next_deadline(), now + INTERVAL);
    }

    fn ask(candidates: &mut Candidates, times: usize) -> Vec<u16> {
        (0..times).map(|_| candidates.choose().unwrap().port).collect()
    }

    #[test]
    fn nodes_take_turns_and_seeds_come_after_them() {
        let mut candidates = Candidates::new(&[endpoint(1), endpoint(2)]);
        assert_eq!(ask(&mut candidates, 3), [1, 2, 1]);
        candidates.learn(&[endpoint(11), endpoint(12)]);
        assert_eq!(ask(&mut candidates, 3), [11, 12, 11]);
        for port in [11, 12] {
            candidates.on_failure(&endpoint(port));
        }
        assert_eq!(ask(&mut candidates, 2), [2, 1]);
    }

    #[test]
    fn a_node_that_failed_goes_last_until_it_answers() {
        let mut candidates = Candidates::new(&[endpoint(1), endpoint(2), endpoint(3)]);
        candidates.on_failure(&endpoint(1));
        assert_eq!(ask(&mut candidates, 3), [2, 3, 2]);
        candidates.learn(&[endpoint(1), endpoint(2)]);
        assert_eq!(ask(&mut candidates, 2), [2, 2], "still remembered");
        candidates.on_success(&endpoint(1));
        assert_eq!(ask(&mut candidates, 1), [1]);
        assert_eq!(Candidates::new(&[]).choose(), None);
    }

    const GOOD: View = View { served: 16384, epoch: 7, healthy: true };

    #[test]
    fn cluster_info_tells_state_and_epoch() {
        let info = "cluster_state:fail\r\ncluster_slots_ok:1\r\ncluster_current_epoch:12\r\n";
        assert_eq!(View::new(5, info), View { served: 5, epoch: 12, healthy: false });
        assert_eq!(View::new(5, ""), View { served: 5, epoch: 0, healthy: true });
    }

    #[test]
    fn a_worse_view_is_doubted_twice_then_believed() {
        for worse in [View { served: 9, ..GOOD }, View { epoch: 6, ..GOOD }, View { healthy: false, ..GOOD }]
        {
            let mut judge = Judge::default();
            let verdicts: Vec<_> =
                [GOOD, worse, worse, worse, worse].map(|view| judge.on_view(view)).to_vec();
            use Verdict::{Believe, Doubt};
            assert_eq!(verdicts, [Believe, Doubt, Doubt, Believe, Believe]);
        }
    }

    #[test]
    fn a_good_view_ends_the_doubts() {
        let mut judge = Judge::default();
        let cut_off = View { epoch: 6, ..GOOD };
        for _ in 0..5 {
            assert_eq!(judge.on_view(GOOD), Verdict::Believe);
            assert_eq!(judge.on_view(cut_off), Verdict::Doubt);
        }
    }

    #[test]
    fn a_first_view_is_believed_whatever_it_is() {
        let mut judge = Judge::default();
        assert_eq!(judge.on_view(View { served: 1, epoch: 0, healthy: false }), Verdict::Believe);
        assert_eq!(judge.on_view(GOOD), Verdict::Believe);
    }
}
