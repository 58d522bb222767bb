//! SLOTWAY: what the proxy tells of itself.

use slotway_tests::cluster::Cluster;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

#[test]
fn it_tells_where_keys_are_and_how_commands_are_served() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        for key in ["foo", "bar", "{foo}x", ""] {
            let told = client.call(&["SLOTWAY", "KEY", key]);
            let slot = cluster.node(0).client().call(&["CLUSTER", "KEYSLOT", key]).int();
            assert_eq!(field(&told, "slot").int(), slot);
            client.call(&["SET", key, "v"]);
            let node = field(&told, "node").text();
            let mut there = Raw::connect(&node);
            assert_eq!(there.call(&["GET", key]).text(), "v", "the node that is named serves the key");
            assert_eq!(field(&told, "replicas").items().len(), 0);
        }
        let topology = client.cmd("SLOTWAY TOPOLOGY");
        let shards = field(&topology, "shards");
        assert_eq!(shards.items().len(), 3);
        let slots: i64 = shards
            .items()
            .iter()
            .flat_map(|it| field(it, "slots").items().to_vec())
            .map(|it| width(&it))
            .sum();
        assert_eq!(slots, 16_384);
        let told = field(&client.cmd("SLOTWAY KEY foo"), "shard").int() as usize;
        assert_eq!(field(&shards.items()[told], "node"), field(&client.cmd("SLOTWAY KEY foo"), "node"));
        let states = field(&shards.items()[told], "connections");
        assert!(states.items().iter().any(|state| state.text() == "up"), "{states:?}");

        let rows = client.cmd("SLOTWAY COMMANDS");
        assert!(rows.items().len() > 300);
        let rename = client.cmd("SLOTWAY COMMANDS rename CONFIG|GET");
        assert!(field(&rename.items()[0], "promise").text().contains("best effort"));
        assert_eq!(field(&rename.items()[1], "route").text(), "one fixed shard");
        assert!(client.cmd("SLOTWAY COMMANDS nix").error().starts_with("ERR unknown command 'nix'"));
        assert!(client.cmd("SLOTWAY HELP").items().len() > 5);
        assert!(client.cmd("SLOTWAY").error().contains("wrong number of arguments"));
        assert!(client.cmd("SLOTWAY NIX").error().starts_with("ERR unknown subcommand"));
    }
}

fn width(range: &Value) -> i64 {
    let text = range.text();
    let (first, last) = text.split_once('-').expect("a range");
    last.parse::<i64>().expect("a slot") - first.parse::<i64>().expect("a slot") + 1
}

/// The value of a map's field, which RESP2 gives as an array.
#[track_caller]
fn field(map: &Value, name: &str) -> Value {
    let pair = map.items().chunks(2).find(|pair| pair[0].text() == name);
    pair.unwrap_or_else(|| panic!("no {name} in {map:?}"))[1].clone()
}
