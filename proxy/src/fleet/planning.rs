//! ◆ The loop of a fleet's proxy, on the control thread: once a second it measures, tells the others, hears them, decides,
//! and puts the plan on the board. It waits for nobody: where the cluster is away it goes on with what it knows.

#![expect(clippy::disallowed_methods, reason = "I/O: its clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::probe::Probes;
use super::store::{Store, StoreError};
use crate::backend::connect::Connector;
use crate::cluster::published::Topology;
use crate::config::fleet::FleetSettings;
use crate::drain::Drain;
use crate::entry::controller;
use crate::entry::plan::Plan;
use crate::entry::rates::Rates;
use crate::entry::report::Report;
use crate::entry::roster::Roster;
use crate::latest::Latest;
use crate::process::Process;

/// What the loop needs of the rest of the proxy.
pub struct Loop {
    latest: Latest,
    drain: Drain,
    store: Store,
    probes: Probes,
    rates: Rates,
    roster: Roster,
    /// When the loop began: its own clock, which no one sets.
    began: Instant,
    /// Whether the hash was read when that was tried last.
    hears: bool,
}

// Often enough that a dead entry is out of the answers in three seconds, seldom enough that hundreds of proxies are no
// load for a node.
const INTERVAL: Duration = Duration::from_secs(1);
// What asking the others may take.
const LIMIT: Duration = Duration::from_millis(700);

impl Loop {
    /// Reports go to the node of `topology` that `connector` reaches.
    pub fn new(latest: Latest, drain: Drain, connector: Arc<Connector>, topology: Arc<Topology>) -> Self {
        Self {
            latest,
            drain,
            store: Store::new(connector, topology),
            probes: Probes::default(),
            rates: Rates::default(),
            roster: Roster::default(),
            began: Instant::now(),
            hears: true,
        }
    }

    /// Goes on for ever; without a fleet in the settings it waits for one.
    pub async fn run(mut self) {
        let mut generations = self.latest.watch();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let process = generations.borrow_and_update()[0].process.clone();
            let Some(fleet) = &process.settings.fleet else {
                self.probes = Probes::default();
                process.board.put_up(Plan::default());
                if generations.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.probes.follow(fleet);
            ticks.tick().await;
            self.turn(&process, fleet).await;
        }
    }

    async fn turn(&mut self, process: &Process, fleet: &FleetSettings) {
        let own = process.node_id.to_string();
        let now = (process.wall_clock)() / 1_000;
        let entries = fleet.entries.iter().map(|entry| entry.id.as_str());
        let health = |id: &str| self.probes.health(id);
        let loads = self.rates.look(entries, process.meter.totals(), health, self.clock());
        let report = Report { proxy: own, at: now, drains: self.drain.has_begun(), entries: loads };
        let (others, leads) = self.hear(&fleet.name, &report).await;
        let mut reports = others;
        reports.push(report);
        reports.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        let before = process.board.plan();
        let plan = controller::step(fleet, &before, &reports, now);
        tell(&before, &plan);
        process.board.lead(leads);
        process.board.put_up(plan);
    }

    /// Tells the others, and hears what they say.
    async fn hear(&mut self, fleet: &str, report: &Report) -> (Vec<Report>, bool) {
        let gone = self.roster.forgotten(self.clock());
        let words = report.encode();
        let asked = self.store.exchange(fleet, (&report.proxy, &words), &gone, LIMIT).await;
        let now = self.clock();
        match asked {
            Ok(found) => {
                if !std::mem::replace(&mut self.hears, true) {
                    info!(fleet, proxies = found.reports.len(), "reports of the fleet are read again");
                }
                self.roster.take(found.reports, now);
                (self.roster.fresh(&report.proxy, now), found.leads)
            }
            Err(error) => {
                self.note_failure(fleet, &error);
                // Whoever can't be told by which one leads leads himself: what all publish is nearly the same.
                (self.roster.last_words(&report.proxy), true)
            }
        }
    }

    fn note_failure(&mut self, fleet: &str, error: &StoreError) {
        if std::mem::replace(&mut self.hears, false) {
            warn!(fleet, %error, "reports of the fleet can't be exchanged");
        }
    }

    /// Milliseconds since the loop began, from 1.
    fn clock(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }
}

/// What an operator wants to read later on.
fn tell(before: &Plan, plan: &Plan) {
    if before.basis != plan.basis {
        info!(basis = plan.basis.name(), "the plan for the entries rests on something else");
    }
    for entry in &plan.entries {
        let was = before.entry(&entry.id);
        if was.is_none_or(|was| was.health != entry.health || was.drain != entry.drain) {
            let (health, weight) = (entry.health.name(), entry.weight);
            info!(entry = entry.id, health, drain = entry.drain, weight, "entry");
        }
    }
}
