//! What the admin pages say. Pure.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::fleet::{Fleet, Publishing};
use crate::config::limits::Limit;
use crate::metrics::{Kind, Metrics, ROWS, Row};
use crate::shared::Shared;
use crate::tenant::directory::{Directory, Tenant};
use crate::tenant::limits::GAUGES;

/// `/metrics`: every number, by worker and cluster; the clusters' topology and the process's memory beside them.
///
/// # Errors
/// Where the encoder fails, which it has no reason to.
pub fn metrics(clusters: &[Arc<Shared>]) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Workers(clusters.iter().map(Numbers::of).collect())));
    registry.register_collector(Box::new(Gauges::of(clusters)));
    if let Some(shared) = clusters.first() {
        registry.register_collector(Box::new(Tenants(shared.process.tenants.clone())));
    }
    if let Some(shared) = clusters.first() {
        registry.register_collector(Box::new(Fleet::of(&shared.process)));
        registry.register_collector(Box::new(Publishing::of(&shared.process)));
    }
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}

/// `/ready`: whether clients should be sent here, and if not, why. One cluster that does not answer is no reason: its
/// own tenants would be no better off elsewhere, and all others would lose this proxy.
///
/// # Errors
/// The reason why not.
pub fn readiness(clusters: &[Arc<Shared>], draining: bool) -> Result<String, String> {
    if let [only] = clusters {
        return cluster_readiness(only, draining).map(|known| format!("ready: {known}"));
    }
    let (mut known, mut unknown, mut lines) = (0, 0, String::new());
    for shared in clusters {
        let state = cluster_readiness(shared, false);
        known += usize::from(state.is_ok());
        unknown += usize::from(state.is_err() && !shared.topology.was_asked_for());
        let state = state.unwrap_or_else(|why| why);
        lines.push_str(&format!("{}: {state}", shared.cluster.name));
    }
    let of = clusters.len();
    if draining {
        Err("draining\n".to_owned())
    } else if known == 0 || unknown > 0 {
        Err(format!("{known} of {of} clusters are known yet\n{lines}"))
    } else {
        Ok(format!("ready: {known} of {of} clusters\n{lines}"))
    }
}

/// `/ready/NAME`: the same of one cluster alone.
///
/// # Errors
/// The reason why not.
pub fn cluster_readiness(shared: &Shared, draining: bool) -> Result<String, String> {
    let map = shared.topology.slot_map();
    if draining {
        Err("draining\n".to_owned())
    } else if shared.topology.server().version.is_empty() {
        Err("no backend has answered yet\n".to_owned())
    } else if !shared.topology.is_ready() {
        Err("the topology is not known yet\n".to_owned())
    } else {
        let served = if map.is_complete() { "every slot" } else { "not every slot" };
        Ok(format!("{} shards, {served} served\n", map.shard_slots().len()))
    }
}

/// One cluster's numbers.
#[derive(Debug)]
struct Numbers {
    cluster: String,
    metrics: Arc<Metrics>,
}

impl Numbers {
    fn of(shared: &Arc<Shared>) -> Self {
        Self { cluster: shared.cluster.name.clone(), metrics: shared.metrics.clone() }
    }
}

#[derive(Debug)]
struct Workers(Vec<Numbers>);

impl prometheus_client::collector::Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Row { name, kind, help, counter } in ROWS {
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let name = format!("slotway_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, metric_type)?;
            for Numbers { cluster, metrics } in &self.0 {
                for (place, worker) in metrics.workers().enumerate() {
                    let label = [("worker", metrics.label(place)), ("cluster", cluster.clone())];
                    Number(*kind, counter(worker).value()).encode(family.encode_family(&label)?)?;
                }
            }
        }
        Ok(())
    }
}

/// What tenants with limits use of them, and how often these acted.
#[derive(Debug)]
struct Tenants(Arc<Directory>);

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

/// What is measured when the page is asked for.
#[derive(Debug)]
struct Gauges {
    process: Vec<(&'static str, &'static str, u64)>,
    /// Of each cluster: its name and its values.
    clusters: Vec<(String, [u64; CLUSTER_GAUGES.len()])>,
}

const CLUSTER_GAUGES: [(&str, &str); 3] = [
    ("slot_map_generation", "Number of the slot map in use."),
    ("shards", "Primaries that serve slots."),
    ("slots_complete", "Whether every slot is served: 1 or 0."),
];

impl Gauges {
    fn of(clusters: &[Arc<Shared>]) -> Self {
        let memory = clusters.first().map(|shared| (shared.process.memory)()).unwrap_or_default();
        let process = vec![
            ("memory_allocated", "Bytes that the allocator has handed out.", memory.allocated),
            ("memory_resident", "Bytes of physical memory that the allocator holds.", memory.resident),
        ];
        let clusters = clusters.iter().map(|shared| {
            let map = shared.topology.slot_map();
            let (shards, served) = (map.shard_slots().len() as u64, u64::from(map.is_complete()));
            (shared.cluster.name.clone(), [map.generation().0.into(), shards, served])
        });
        Self { process, clusters: clusters.collect() }
    }
}

impl prometheus_client::collector::Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.process {
            let name = format!("slotway_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            Number(Kind::Gauge, *value).encode(metric)?;
        }
        for (place, (name, help)) in CLUSTER_GAUGES.iter().enumerate() {
            let name = format!("slotway_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (cluster, values) in &self.clusters {
                let label = [("cluster", cluster.as_str())];
                Number(Kind::Gauge, values[place]).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Number(pub(super) Kind, pub(super) u64);

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
