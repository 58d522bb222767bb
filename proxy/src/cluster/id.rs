//! Which of the clusters behind the proxy.

use tracing::{Span, error_span};

use crate::config::settings::DEFAULT_CLUSTER;

/// A cluster's place among the settings' clusters: the same for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ClusterId(pub u16);

impl ClusterId {
    /// As an index.
    #[must_use]
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// What lines of the log begin with that are about a cluster: its name, but nothing for the default one.
pub(super) fn log_span(name: &str) -> Span {
    if name == DEFAULT_CLUSTER { Span::none() } else { error_span!("cluster", name) }
}
