//! The servers that come from packages: each starts, also as a cluster, and has what it is there for.

use slotway_tests::cluster::Cluster;
use slotway_tests::server::Kind;

#[test]
fn each_server_from_a_package_forms_a_cluster_and_has_its_commands() {
    for (kind, lines) in [
        (Kind::Stack, &["JSON.SET {a} $ 1", "FT._LIST", "BF.ADD {a}b x", "TS.CREATE {a}t"][..]),
        (Kind::Redis8, &["VADD {a} VALUES 2 1 0 x"]),
    ] {
        if !kind.is_installed() {
            continue;
        }
        let cluster = Cluster::with(kind, 3, 0);
        let owner = cluster.first_owner(slotway::cluster::slot::Slot::of(b"a"));
        for line in lines {
            let reply = cluster.node(owner).client().cmd(line);
            assert!(!reply.is_error(), "{kind:?}: {line}: {reply:?}");
        }
    }
}
