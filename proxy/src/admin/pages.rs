//! What the admin pages say. Pure.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::config::limits::Limit;
use crate::metrics::{Kind, Metrics, Row};
use crate::shared::Shared;
use crate::tenant::directory::{Directory, Tenant};
use crate::tenant::limits::GAUGES;

/// `/metrics`: every number, by worker; the process's memory and topology beside them.
///
/// # Errors
/// Where the encoder fails, which it has no reason to.
pub fn metrics(shared: &Shared) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Workers(shared.metrics.clone())));
    registry.register_collector(Box::new(Process::of(shared)));
    registry.register_collector(Box::new(Tenants(shared.tenants.clone())));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}

/// `/ready`: whether clients should be sent here, and if not, why.
///
/// # Errors
/// The reason why not.
pub fn readiness(shared: &Shared, draining: bool) -> Result<String, String> {
    let map = shared.topology.slot_map();
    if draining {
        Err("draining\n".to_owned())
    } else if shared.topology.server().version.is_empty() {
        Err("no backend has answered yet\n".to_owned())
    } else if !shared.topology.is_ready() {
        Err("the topology is not known yet\n".to_owned())
    } else {
        let served = if map.is_complete() { "every slot" } else { "not every slot" };
        Ok(format!("ready: {} shards, {served} served\n", map.shard_slots().len()))
    }
}

#[derive(Debug)]
struct Workers(std::sync::Arc<Metrics>);

impl prometheus_client::collector::Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (row, values) in self.0.rows() {
            let Row { name, kind, help, .. } = row;
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let name = format!("slotway_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, metric_type)?;
            for (place, value) in values.iter().enumerate() {
                let label = [("worker", self.0.label(place))];
                Number(*kind, *value).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

/// What tenants with limits use of them, and how often these acted.
#[derive(Debug)]
struct Tenants(std::sync::Arc<Directory>);

impl Tenants {
    fn limited(&self) -> impl Iterator<Item = &Tenant> {
        self.0.tenants().iter().map(|tenant| &**tenant).filter(|tenant| tenant.limits().is_some())
    }
}

impl prometheus_client::collector::Collector for Tenants {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.limited().next().is_none() {
            return Ok(());
        }
        for gauge in GAUGES {
            let name = format!("slotway_tenant_{}", gauge.name);
            let mut family = encoder.encode_descriptor(&name, gauge.help, None, MetricType::Gauge)?;
            for tenant in self.limited() {
                let value = (gauge.value)(tenant.limits_state());
                Number(Kind::Gauge, value).encode(family.encode_family(&[("tenant", &**tenant.name())])?)?;
            }
        }
        let help = "How often a limit of the tenant refused something, or had a client wait.";
        let mut family =
            encoder.encode_descriptor("slotway_tenant_limited", help, None, MetricType::Counter)?;
        for tenant in self.limited() {
            for limit in Limit::ALL {
                let label = [("tenant", &**tenant.name()), ("limit", limit.name())];
                let acted = tenant.limits_state().acted(limit);
                Number(Kind::Counter, acted).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Process {
    rows: Vec<(&'static str, &'static str, u64)>,
}

impl Process {
    fn of(shared: &Shared) -> Self {
        let memory = (shared.memory)();
        let map = shared.topology.slot_map();
        let served = u64::from(map.is_complete());
        Self {
            rows: vec![
                ("memory_allocated", "Bytes that the allocator has handed out.", memory.allocated),
                ("memory_resident", "Bytes of physical memory that the allocator holds.", memory.resident),
                ("slot_map_generation", "Number of the slot map in use.", map.generation().0.into()),
                ("shards", "Primaries that serve slots.", map.shard_slots().len() as u64),
                ("slots_complete", "Whether every slot is served: 1 or 0.", served),
            ],
        }
    }
}

impl prometheus_client::collector::Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.rows {
            let name = format!("slotway_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            Number(Kind::Gauge, *value).encode(metric)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Number(Kind, u64);

impl EncodeMetric for Number {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.0 {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&self.1, None),
            Kind::Gauge => encoder.encode_gauge(&self.1),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.0 {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        }
    }
}
