//! ◆ What asks the backends of themselves, on the control thread: the topology, and which replicas may be read from.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cluster::discovery::Discovery;
use crate::cluster::published::Topology;
use crate::cluster::watch::Watch;
use crate::config::settings::{ClusterSettings, Settings};
use crate::dns::resolver::Resolver;
use crate::metrics::Metrics;

/// The running tasks; dropping this ends them.
pub(super) struct Backends {
    discovery: Discovery,
    watch: Option<Watch>,
    metrics: Arc<Metrics>,
}

impl Backends {
    /// Begins to ask.
    pub(super) fn start(settings: &Settings, resolver: &Arc<Resolver>, control: &Handle) -> Self {
        let discovery = Discovery::start(&settings.cluster, resolver.clone(), control);
        let metrics = Arc::new(Metrics::new(settings.threads));
        let topology = discovery.topology().clone();
        let watch = Watch::start(&settings.cluster, resolver.clone(), topology, metrics.clone(), control);
        Self { discovery, watch, metrics }
    }

    /// What they publish.
    pub(super) fn topology(&self) -> &Arc<Topology> {
        self.discovery.topology()
    }

    /// Where they count, as everybody does.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// From here on they ask by these settings.
    pub(super) fn follow(&self, settings: &ClusterSettings) {
        self.discovery.follow(settings);
        if let Some(watch) = &self.watch {
            watch.follow(settings);
        }
    }
}
