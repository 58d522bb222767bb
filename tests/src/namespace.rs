//! A tenant with a namespace on a cluster, and its user at the servers.

use slotway::command::table::Table;
use slotway::config::written::Written;
use slotway::tenant::rights::Rights;

use crate::cluster::Cluster;

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
        let placement = if *together { "together" } else { "spread" };
        format!(
            "[[tenants]]\nname = \"tenant-{user}\"\nnamespace = \"{id}\"\nplacement = \"{placement}\"\n\
             databases = 16\nbackend.user = \"{id}\"\nbackend.password = \"secret\"\n\
             users = [{{ name = \"{user}\", nopass = true }}]\n"
        )
    }

    /// Makes its user on every node of the cluster, with the rights that `slotway tenants plan` prints.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn admit(&self, cluster: &Cluster) {
        let line = self.line();
        for index in 0..cluster.len() {
            assert_eq!(cluster.node(index).client().cmd(&line).text(), "OK");
        }
    }

    fn line(&self) -> String {
        let mut written = Written::default();
        let seeds = "cluster.seeds = [\"redis://127.0.0.1:1\"]\n";
        written.read_text("a test's", &[seeds, &self.settings("any")].concat());
        let settings = written.check().expect("settings that can be read");
        let tenant = settings.tenants.iter().find(|tenant| tenant.namespace.is_some()).expect("a tenant");
        Rights::of(tenant, &Table::builtin()).line(tenant.backend.as_ref().expect("its user"))
    }
}
