//! What the admin pages say of the fleet's entries. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use super::pages::Number;
use crate::entry::plan::{MAX_WEIGHT, Plan, Planned};
use crate::entry::publish::ledger::{Account, Publisher};
use crate::entry::publish::said::{self, Hints, Standing};
use crate::entry::report::Health;
use crate::entry::traffic::Totals;
use crate::metrics::Kind;
use crate::process::Process;

/// `/entries`: the plan in force, a line for each entry.
///
/// # Errors
/// Why there is none.
pub fn page(process: &Process) -> Result<String, String> {
    let plan = process.board.plan();
    match &process.settings.fleet {
        None => Err("no fleet is set\n".to_owned()),
        Some(_) if plan.entries.is_empty() => Err("no plan has been made yet\n".to_owned()),
        Some(fleet) => {
            let entries = text(&fleet.name, &plan, process.board.leads());
            Ok(entries + &publishers(&process.ledger.accounts()))
        }
    }
}

/// `/dns-weight`: an integer.
///
/// # Errors
/// Where none of the fleet's entries is asked about.
pub fn weight(process: &Process, hints: Hints<'_>) -> Result<String, String> {
    standing(process, hints)
        .map(|standing| format!("{}\n", standing.weight()))
        .ok_or_else(|| "no entry of the fleet is asked about: /dns-weight/ID\n".to_owned())
}

/// `/healthz` of an entry; `None` where none is asked about.
#[must_use]
pub fn health(process: &Process, hints: Hints<'_>) -> Option<Result<String, String>> {
    Some(match standing(process, hints)? {
        Standing::Up(_) => Ok("up\n".to_owned()),
        Standing::Drain => Err("drain\n".to_owned()),
        Standing::Down => Err("down\n".to_owned()),
    })
}

/// What an agent-check is told of an entry, or of this proxy, which is about to end where it `drains`.
#[must_use]
pub fn agent_line(process: &Process, entry: Option<&str>, drains: bool) -> String {
    match entry {
        Some(id) => {
            // Who asks for one that there is not must not go on as if there were.
            let hints = Hints { id: Some(id), ..Hints::default() };
            standing(process, hints).unwrap_or(Standing::Down).line()
        }
        None if drains => Standing::Drain.line(),
        None => Standing::Up(MAX_WEIGHT).line(),
    }
}

fn standing(process: &Process, hints: Hints<'_>) -> Option<Standing> {
    let fleet = process.settings.fleet.as_ref()?;
    let id = said::entry(fleet, hints)?;
    Some(said::standing(&process.board.plan(), id))
}

/// What became of each publisher's work, for `/metrics`.
#[derive(Debug)]
pub(super) struct Publishing(Vec<(Publisher, Account)>);

impl Publishing {
    pub(super) fn of(process: &Process) -> Self {
        Self(process.ledger.accounts())
    }
}

/// A number of a publisher's account.
struct Figure {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Account) -> u64,
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "published",
        help: "How often it published.",
        kind: Kind::Counter,
        value: |account| account.published,
    },
    Figure {
        name: "differed",
        help: "How often another had published since it looked.",
        kind: Kind::Counter,
        value: |account| account.differed,
    },
    Figure {
        name: "last_success",
        help: "When it published last or found that all is as it should be, in seconds since 1970.",
        kind: Kind::Gauge,
        value: |account| account.last_success / 1_000,
    },
    Figure {
        name: "plan_in_force",
        help: "When the plan was made that is in force, in seconds since 1970; 0: none is known to be.",
        kind: Kind::Gauge,
        value: |account| account.plan_in_force / 1_000,
    },
    Figure {
        name: "in_trouble",
        help: "Whether it failed when it tried last: 1 or 0.",
        kind: Kind::Gauge,
        value: |account| account.trouble.is_some().into(),
    },
];

impl Collector for Publishing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        for Figure { name, help, kind, value } in FIGURES {
            let name = format!("slotway_publisher_{name}");
            let metric_type = Number(*kind, 0).metric_type();
            let mut family = encoder.encode_descriptor(&name, help, None, metric_type)?;
            for (publisher, account) in &self.0 {
                let number = Number(*kind, value(account));
                number.encode(family.encode_family(&[("publisher", publisher.name())])?)?;
            }
        }
        let help = "How often it failed, by what was wrong.";
        let mut family =
            encoder.encode_descriptor("slotway_publisher_failures", help, None, MetricType::Counter)?;
        for (publisher, account) in &self.0 {
            for (kind, count) in &account.failures {
                let labels = [("publisher", publisher.name()), ("reason", *kind)];
                Number(Kind::Counter, *count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A line for each publisher, for `/entries`.
fn publishers(accounts: &[(Publisher, Account)]) -> String {
    let line = |(publisher, account): &(Publisher, Account)| {
        let Account { published, in_force, trouble, .. } = account;
        let (name, failures) = (publisher.name(), account.failures.values().sum::<u64>());
        let in_force = if in_force.is_empty() { "nothing" } else { in_force };
        let trouble = trouble.as_ref().map(|trouble| format!("; trouble: {trouble}")).unwrap_or_default();
        format!(
            "{name}: published {published} times, failed {failures} times, in force: {in_force}{trouble}\n"
        )
    };
    accounts.iter().map(line).collect()
}

fn text(name: &str, plan: &Plan, leads: bool) -> String {
    let (basis, leads) = (plan.basis.name(), if leads { "this proxy" } else { "another proxy" });
    let mut page = format!("{name}: weights rest on {basis}; {leads} publishes\n");
    for entry in &plan.entries {
        let Planned { id, weight, load, cap, connections, excess, headroom, .. } = entry;
        let (health, drain) = (entry.health.name(), if entry.drain { ", drain" } else { "" });
        let percent = load * 100 / cap.max(&1);
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "{id}: weight {weight}, {health}{drain}, {load} of {cap} bytes/s ({percent} %), {connections} connections, \
             {excess} bytes/s to move, room for {headroom}"
        );
    }
    page
}

/// The numbers of the entries for `/metrics`.
#[derive(Debug)]
pub(super) struct Fleet {
    plan: Arc<Plan>,
    leads: bool,
    own: BTreeMap<Arc<str>, Totals>,
}

/// A number of a plan's entry.
struct Row {
    name: &'static str,
    help: &'static str,
    value: fn(&Planned) -> u64,
}

const ROWS: &[Row] = &[
    Row { name: "weight", help: "Its share of new clients, 0 to 1000.", value: |entry| entry.weight.into() },
    Row {
        name: "load",
        help: "Bytes a second it carries in its busier direction, of all proxies.",
        value: |entry| entry.load,
    },
    Row { name: "cap", help: "Bytes a second it can carry.", value: |entry| entry.cap },
    Row {
        name: "fleet_connections",
        help: "Connections through it, of all proxies.",
        value: |entry| entry.connections,
    },
    Row {
        name: "excess",
        help: "Bytes a second that are to move to other entries.",
        value: |entry| entry.excess,
    },
    Row {
        name: "up",
        help: "Whether proxies are reached through it: 1 or 0.",
        value: |entry| (entry.health != Health::Down).into(),
    },
    Row { name: "drain", help: "Whether it is to be left: 1 or 0.", value: |entry| entry.drain.into() },
];

/// A number of what this proxy carries of an entry.
struct Own {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Totals) -> u64,
}

const OWN: &[Own] = &[
    Own {
        name: "bytes_in",
        help: "Bytes from clients through it, of this proxy.",
        kind: Kind::Counter,
        value: |own| own.received,
    },
    Own {
        name: "bytes_out",
        help: "Bytes to clients through it, of this proxy.",
        kind: Kind::Counter,
        value: |own| own.sent,
    },
    Own {
        name: "connections",
        help: "Connections through it, of this proxy.",
        kind: Kind::Gauge,
        value: |own| own.connections,
    },
    Own {
        name: "accepted",
        help: "Connections that began through it, of this proxy.",
        kind: Kind::Counter,
        value: |own| own.accepted,
    },
];

impl Fleet {
    pub(super) fn of(process: &Process) -> Self {
        Self { plan: process.board.plan(), leads: process.board.leads(), own: process.meter.totals() }
    }
}

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.plan.entries.is_empty() {
            return Ok(());
        }
        let help = "Whether this proxy publishes for the fleet: 1 or 0.";
        let metric = encoder.encode_descriptor("slotway_fleet_leads", help, None, MetricType::Gauge)?;
        Number(Kind::Gauge, self.leads.into()).encode(metric)?;
        for Row { name, help, value } in ROWS {
            let name = format!("slotway_entry_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for entry in &self.plan.entries {
                let number = Number(Kind::Gauge, value(entry));
                number.encode(family.encode_family(&[("entry", entry.id.as_str())])?)?;
            }
        }
        for Own { name, help, kind, value } in OWN {
            let name = format!("slotway_entry_{name}");
            let number = |totals: &Totals| Number(*kind, value(totals));
            let mut family =
                encoder.encode_descriptor(&name, help, None, number(&Totals::default()).metric_type())?;
            for entry in &self.plan.entries {
                let totals = self.own.get(entry.id.as_str()).copied().unwrap_or_default();
                number(&totals).encode(family.encode_family(&[("entry", entry.id.as_str())])?)?;
            }
        }
        Ok(())
    }
}
