//! A tenant with a namespace of a shared cluster, and the user that it is there.

use crate::cluster::Cluster;
use crate::proxy::plan;

/// One, who logs in by its name and any password.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The name of the tenant and of its user.
    pub name: &'static str,
    /// The internal id.
    pub id: &'static str,
    /// Whether its keys are in one slot.
    pub together: bool,
}

impl Tenant {
    /// Its section of the settings file.
    #[must_use]
    pub fn config(&self) -> String {
        let Self { name, id, .. } = self;
        let placement = if self.together { "together" } else { "spread" };
        format!(
            "[[tenants]]\nname = \"{name}\"\nnamespace = \"{id}\"\nplacement = \"{placement}\"\ndatabases = 16\n\
             backend.user = \"slotway-{name}\"\nbackend.password = \"secret\"\n\
             users = [{{ name = \"{name}\", nopass = true }}]\n"
        )
    }

    /// Makes its user at every node, by the plan.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn set_user(&self, cluster: &Cluster) {
        for line in plan(&self.config()) {
            for index in 0..cluster.len() {
                assert_eq!(cluster.node(index).client().cmd(&line).text(), "OK");
            }
        }
    }
}
