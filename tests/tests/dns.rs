//! Backends by host name.

use slotway_tests::cluster::Cluster;
use slotway_tests::proxy::Options;
use slotway_tests::server::Server;

#[test]
fn cluster_seeds_may_be_host_names() {
    let cluster = Cluster::start();
    let seeds = (0..3).map(|index| format!("redis://localhost:{}", cluster.node(index).port()));
    let proxy = Options::cluster(&seeds.collect::<Vec<_>>()).start();
    let mut client = proxy.client();
    for number in 0..100 {
        assert_eq!(client.cmd(&format!("SET key:{number} x")).text(), "OK");
    }
}

#[test]
fn a_standalone_server_may_be_a_host_name() {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://localhost:{}", server.port())).start();
    assert_eq!(proxy.client().cmd("SET a 1").text(), "OK");
    assert_eq!(server.client().cmd("GET a").text(), "1");
}

#[test]
fn nodes_that_announce_host_names_are_reached_by_them() {
    let cluster = Cluster::start();
    for index in 0..3 {
        let mut node = cluster.node(index).client();
        for line in ["cluster-announce-hostname localhost", "cluster-preferred-endpoint-type hostname"] {
            assert_eq!(node.cmd(&format!("CONFIG SET {line}")).text(), "OK");
        }
    }
    cluster.wait_until_agreed();
    let proxy = Options::cluster(&cluster.urls()).start();
    let mut client = proxy.client();
    for number in 0..100 {
        assert_eq!(client.cmd(&format!("SET key:{number} x")).text(), "OK");
    }
}

#[test]
fn standalone_shards_share_the_slots() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(|server| format!("redis://localhost:{}", server.port()));
    let proxy = Options::shards(&urls).start();
    let mut client = proxy.client();
    for number in 0..300 {
        assert_eq!(client.cmd(&format!("SET key:{number} {number}")).text(), "OK");
    }
    assert_eq!(client.cmd("DBSIZE").int(), 300);
    assert!(servers.iter().all(|server| server.client().cmd("DBSIZE").int() > 50));
    assert_eq!(client.cmd("MGET key:1 key:2 key:3 key:4").items().len(), 4);
}
