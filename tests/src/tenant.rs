//! A tenant with a namespace of a shared cluster, and the user that it is there.

use crate::cluster::Cluster;

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

    /// Makes its user at every node: rights to its own names only, and none that no name restricts.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn set_user(&self, cluster: &Cluster) {
        let stem = if self.together { format!("{{{}}}", self.id) } else { self.id.to_owned() };
        let rights = format!(
            "reset on >secret ~{stem}:* ~{stem}.* resetchannels &{stem}:* +@all -@admin -@dangerous +sort +sort_ro \
             -scan -randomkey -dbsize -select -pubsub -cluster -memory +memory|usage -function +function|help"
        );
        for index in 0..cluster.len() {
            let reply =
                cluster.node(index).client().cmd(&format!("ACL SETUSER slotway-{} {rights}", self.name));
            assert_eq!(reply.text(), "OK");
        }
    }
}
