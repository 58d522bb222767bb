//! A tenant with a namespace on a cluster, and its user at the servers.

use crate::cluster::Cluster;
use crate::proxy::plan;

/// A tenant's part of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Namespace {
    /// Its id.
    pub id: &'static str,
    /// Whether all its keys are in one slot.
    pub together: bool,
}

impl Namespace {
    /// One whose keys are in one slot.
    #[must_use]
    pub fn together(id: &'static str) -> Self {
        Self { id, together: true }
    }

    /// One whose keys are spread.
    #[must_use]
    pub fn spread(id: &'static str) -> Self {
        Self { id, together: false }
    }

    /// The settings of a tenant called as its one user, which needs no password.
    #[must_use]
    pub fn settings(&self, user: &str) -> String {
        let Self { id, together } = self;
        let backend = self.backend();
        let placement = if *together { "together" } else { "spread" };
        format!(
            "[[tenants]]\nname = \"tenant-{user}\"\nnamespace = \"{id}\"\nplacement = \"{placement}\"\n\
             databases = 16\nbackend.user = \"{backend}\"\nbackend.password = \"secret\"\n\
             users = [{{ name = \"{user}\", nopass = true }}]\n"
        )
    }

    /// Its user at the servers: a name that does not have the id, which no answer may.
    fn backend(&self) -> String {
        self.id.chars().rev().collect()
    }

    /// Makes its user on every node of the cluster, by the plan.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn admit(&self, cluster: &Cluster) {
        for line in plan(&self.settings("any")) {
            for index in 0..cluster.len() {
                let set = cluster.node(index).client().cmd(&line);
                assert_eq!(set.text(), "OK");
            }
        }
    }
}
