//! What the admin pages say of the fleet's entries. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use super::pages::Number;
use crate::entry::plan::{Plan, Planned};
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
        Some(fleet) => Ok(text(&fleet.name, &plan, process.board.leads())),
    }
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
