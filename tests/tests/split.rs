//! What concerns several shards at once: commands that are split, asked of every shard, or walk over all.

use std::collections::BTreeSet;

use slotway_tests::cluster::Cluster;
use slotway_tests::keys::{scan, write_all};
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

#[test]
fn mget_gives_every_value_in_the_callers_order() {
    let (_cluster, _proxy, mut client) = start();
    assert_eq!(client.cmd("MSET a 1 b 2 c 3 d 4 e 5 f 6").text(), "OK");
    client.cmd("RPUSH list x");
    let reply = client.cmd("MGET f missing a a list d c b e f");
    let expected = ["6", "nil", "1", "1", "nil", "4", "3", "2", "5", "6"];
    assert_eq!(reply.items().iter().map(Value::text).collect::<Vec<_>>(), expected);
}

#[test]
fn a_value_given_twice_to_mset_is_the_last_one() {
    let (_cluster, _proxy, mut client) = start();
    client.cmd("MSET a 1 b 1 a 2 c 1 a 3");
    assert_eq!(client.cmd("MGET a b c").items().iter().map(Value::text).collect::<Vec<_>>(), ["3", "1", "1"]);
}

#[test]
fn sums_count_every_key_once_for_each_time_it_is_named() {
    let (_cluster, _proxy, mut client) = start();
    let keys: Vec<String> = (0..300).map(|number| format!("key:{number}")).collect();
    write_all(&mut client, &keys);
    let with = |name: &str, keys: &[String]| [&[name.to_owned()], keys].concat();
    assert_eq!(client.call(&with("EXISTS", &keys)).int(), 300);
    assert_eq!(client.call(&with("EXISTS", &[&keys[..], &keys[..10]].concat())).int(), 310);
    assert_eq!(client.call(&with("TOUCH", &keys)).int(), 300);
    assert_eq!(client.call(&with("DEL", &[&keys[..100], &keys[..100]].concat())).int(), 100);
    assert_eq!(client.call(&with("UNLINK", &keys)).int(), 200);
    assert_eq!(client.cmd("DBSIZE").int(), 0);
}

#[test]
fn a_split_of_ten_thousand_keys_keeps_its_order() {
    let (_cluster, _proxy, mut client) = start();
    let pairs = (0..10_000).flat_map(|number| [format!("many:{number}"), number.to_string()]);
    let mset: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
    assert_eq!(client.call(&mset).text(), "OK");
    let keys = (0..10_000).rev().map(|number| format!("many:{number}"));
    let mget: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
    let reply = client.call(&mget);
    assert!(reply.items().iter().map(Value::text).eq((0..10_000).rev().map(|number| number.to_string())));
}

#[test]
fn splits_and_single_commands_of_a_pipeline_answer_in_order() {
    let (_cluster, _proxy, mut client) = start();
    client.cmd("MSET a 1 b 2 c 3");
    for line in ["GET a", "MGET a b c", "GET b", "EXISTS a b c nope", "DBSIZE", "GET c", "NOSUCH", "PING"] {
        client.send_line(line);
    }
    let replies = client.read_many(8);
    assert_eq!(replies[0].text(), "1");
    assert_eq!(replies[1].items().len(), 3);
    assert_eq!(replies[2].text(), "2");
    assert_eq!((replies[3].int(), replies[4].int()), (3, 3));
    assert_eq!(replies[5].text(), "3");
    assert!(replies[6].is_error());
    assert_eq!(replies[7].text(), "PONG");
}

#[test]
fn every_shard_is_counted_listed_and_flushed() {
    let (cluster, _proxy, mut client) = start();
    let keys: Vec<String> = (0..100).map(|number| format!("k:{number}")).collect();
    write_all(&mut client, &keys);
    for index in 0..3 {
        assert!(cluster.node(index).client().cmd("DBSIZE").int() > 0, "keys on every shard");
    }
    assert_eq!(client.cmd("DBSIZE").int(), 100);
    let listed: BTreeSet<String> = client.cmd("KEYS *").items().iter().map(Value::text).collect();
    assert_eq!(listed, keys.into_iter().collect());
    assert_eq!(client.cmd("KEYS k:1*").items().len(), 11);
    assert_eq!(client.cmd("FLUSHALL").text(), "OK");
    assert_eq!(client.cmd("DBSIZE").int(), 0);
    assert!((0..3).all(|index| cluster.node(index).client().cmd("DBSIZE").int() == 0));
}

#[test]
fn randomkey_finds_the_only_key_wherever_it_is() {
    let (_cluster, _proxy, mut client) = start();
    assert_eq!(client.cmd("RANDOMKEY"), Value::Nil);
    for number in 0..12 {
        client.cmd(&format!("SET lonely:{number} x"));
        for _ in 0..5 {
            assert_eq!(client.cmd("RANDOMKEY").text(), format!("lonely:{number}"));
        }
        client.cmd("FLUSHALL");
    }
}

#[test]
fn a_script_that_was_loaded_runs_on_every_shard() {
    let (_cluster, _proxy, mut client) = start();
    let sha = client.cmd("SCRIPT LOAD \"return KEYS[1]\"").text();
    for number in 0..50 {
        assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 key:{number}")).text(), format!("key:{number}"));
    }
    assert_eq!(
        client.cmd(&format!("SCRIPT EXISTS {sha} {}", "0".repeat(40))).items(),
        [1, 0].map(Value::Int)
    );
    assert_eq!(client.cmd("SCRIPT FLUSH").text(), "OK");
    for number in 0..50 {
        assert!(client.cmd(&format!("EVALSHA {sha} 1 key:{number}")).error().starts_with("NOSCRIPT"));
    }
}

#[test]
fn scan_returns_every_key_that_was_there_all_the_time() {
    let (_cluster, _proxy, mut client) = start();
    let stable: BTreeSet<String> = (0..1_000).map(|number| format!("stable:{number}")).collect();
    write_all(&mut client, &stable);
    for count in ["", "COUNT 1000", "COUNT 7"] {
        let mut churn = 0;
        let found = scan(&mut client, count, |client| {
            churn += 1;
            client.cmd(&format!("SET churn:{churn} x"));
            client.cmd(&format!("DEL churn:{}", churn - 1));
        });
        assert!(stable.is_subset(&found), "missing {:?}", stable.difference(&found).collect::<Vec<_>>());
    }
}

#[test]
fn scan_filters_by_pattern_and_type() {
    let (_cluster, _proxy, mut client) = start();
    for number in 0..50 {
        client.cmd(&format!("SET string:{number} x"));
        client.cmd(&format!("RPUSH list:{number} x"));
    }
    assert_eq!(scan(&mut client, "MATCH string:*", |_| ()).len(), 50);
    assert_eq!(scan(&mut client, "TYPE list", |_| ()).len(), 50);
    assert_eq!(scan(&mut client, "MATCH *:7 TYPE list COUNT 100", |_| ()).len(), 1);
    assert!(scan(&mut client, "MATCH nothing*", |_| ()).is_empty());
}

#[test]
fn a_scan_may_be_continued_by_another_client() {
    let (_cluster, proxy, mut client) = start();
    let keys: Vec<String> = (0..300).map(|number| format!("k:{number}")).collect();
    write_all(&mut client, &keys);
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        // Whichever worker serves it, the cursor means the same.
        let reply = proxy.client().cmd(&format!("SCAN {cursor}"));
        found.extend(reply.items()[1].items().iter().map(Value::text));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 300);
}

#[test]
fn scan_cursors_are_numbers_and_bad_ones_are_refused() {
    let (_cluster, _proxy, mut client) = start();
    let keys: Vec<String> = (0..300).map(|number| format!("k:{number}")).collect();
    write_all(&mut client, &keys);
    let cursor = client.cmd("SCAN 0").items()[0].text();
    // Clients keep cursors in 64 bit.
    cursor.parse::<u64>().expect("a number of 64 bit");
    for bad in ["abc", "18446744073709551616", "1.5"] {
        assert_eq!(client.cmd(&format!("SCAN {bad}")).error(), "ERR invalid cursor", "{bad}");
    }
    // One that nobody gave may be refused or answered, but is answered.
    let _ = client.cmd("SCAN 18446744073709551615");
    let _ = client.cmd("SCAN -1");
    assert_eq!(client.cmd("PING").text(), "PONG");
}

fn start() -> (Cluster, Proxy, Raw) {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let client = proxy.client();
    (cluster, proxy, client)
}
