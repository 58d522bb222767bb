//! ◆ What asks the backends of themselves, on the control thread: the topology of each cluster, and which replicas may
//! be read from.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cluster::discovery::Discovery;
use crate::cluster::published::Topology;
use crate::cluster::watch::Watch;
use crate::command::table::Table;
use crate::config::settings::{ClusterSettings, Settings};
use crate::dns::resolver::Resolver;
use crate::metrics::Metrics;

/// The running tasks; dropping this ends them.
pub(super) struct Backends(Vec<Asking>);

/// What asks one cluster's nodes.
struct Asking {
    discovery: Discovery,
    watch: Option<Watch>,
    metrics: Arc<Metrics>,
}

impl Backends {
    /// Begins to look for each cluster. None waits for another, nor for an answer.
    pub(super) fn start(settings: &Settings, resolver: &Arc<Resolver>, control: &Handle) -> Self {
        // One table for all of them, as long as none has commands of its own.
        let commands = Arc::new(Table::builtin());
        let asking = settings.clusters.iter().map(|cluster| {
            let discovery = Discovery::start(cluster, commands.clone(), resolver.clone(), control);
            let (topology, metrics) =
                (discovery.topology().clone(), Arc::new(Metrics::new(settings.threads)));
            let watch = Watch::start(cluster, resolver.clone(), topology, metrics.clone(), control);
            Asking { discovery, watch, metrics }
        });
        Self(asking.collect())
    }

    /// What they publish, and where each counts.
    pub(super) fn found(&self) -> impl Iterator<Item = (Arc<Topology>, Arc<Metrics>)> {
        self.0.iter().map(|asking| (asking.discovery.topology().clone(), asking.metrics.clone()))
    }

    /// From here on they ask by these settings.
    pub(super) fn follow(&self, clusters: &[ClusterSettings]) {
        for (asking, settings) in self.0.iter().zip(clusters) {
            asking.discovery.follow(settings);
            if let Some(watch) = &asking.watch {
                watch.follow(settings);
            }
        }
    }
}
