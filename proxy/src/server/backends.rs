//! ◆ What asks the backends of themselves, on the control thread: the topology of each cluster, and which replicas may
//! be read from.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::backend::dial::Dialer;
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
    dialer: Dialer,
    discovery: Discovery,
    watch: Option<Watch>,
    metrics: Arc<Metrics>,
}

impl Backends {
    /// Begins to look for each cluster. None waits for another, nor for an answer.
    ///
    /// # Errors
    /// Where what TLS to a cluster needs can't be read.
    pub(super) fn start(settings: &Settings, resolver: &Arc<Resolver>, control: &Handle) -> io::Result<Self> {
        // One table for all of them, as long as none has commands of its own.
        let commands = Arc::new(Table::builtin());
        let asking = settings.clusters.iter().map(|cluster| {
            let metrics = Arc::new(Metrics::new(settings.threads));
            let dialer = Dialer::load(cluster.tls.as_ref(), &metrics)?;
            let (commands, dial) = (commands.clone(), dialer.clone());
            let discovery = Discovery::start(cluster, commands, resolver.clone(), dial, control);
            let (topology, dial) = (discovery.topology().clone(), dialer.clone());
            let watch = Watch::start(cluster, resolver.clone(), dial, topology, metrics.clone(), control);
            Ok(Asking { dialer, discovery, watch, metrics })
        });
        asking.collect::<io::Result<_>>().map(Self)
    }

    /// What they publish, how each cluster is connected to, and where each counts.
    pub(super) fn found(&self) -> impl Iterator<Item = (Arc<Topology>, Dialer, Arc<Metrics>)> {
        let found = |asking: &Asking| {
            (asking.discovery.topology().clone(), asking.dialer.clone(), asking.metrics.clone())
        };
        self.0.iter().map(found)
    }

    /// Looks whether the files of certificates were replaced.
    pub(super) fn look_at_certificates(&self) {
        self.0.iter().filter_map(|asking| asking.dialer.certificates()).for_each(|files| files.look());
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
