//! Entries: which one a client came by, what each carries, what proxies tell each other of them, and the plan.

use slotway_tests::cluster::Cluster;
use slotway_tests::member::{Member, SOON, entries, fleet};
use slotway_tests::page::{number, page};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::Options;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

#[test]
fn bytes_and_connections_are_counted_by_the_entry_they_came_by() {
    let (server, port) = (Server::start(), Port::lease());
    let member = Member::start(Options::standalone(&format!("redis://{}", server.addr())), port.number());
    member.wait_for("a", "up");
    let [a, b] = entries(port.number());
    let mut by_a = Raw::connect(&a);
    let mut by_none = member.proxy.client();
    let value = "x".repeat(1_000);
    let before = (member.own("a", "bytes_in_total"), member.own("a", "bytes_out_total"));
    for _ in 0..100 {
        assert_eq!(by_a.cmd(&format!("SET k {value}")).text(), "OK");
        assert_eq!(by_a.cmd("GET k").text(), value);
        assert_eq!(by_none.cmd("GET k").text(), value);
    }
    let counted = |before: u64, name| member.own("a", name) - before;
    // Probes of both entries are counted too: some bytes each.
    assert!((100_000..110_000).contains(&counted(before.0, "bytes_in_total")));
    assert!((100_000..110_000).contains(&counted(before.1, "bytes_out_total")));
    assert!(member.own("b", "bytes_out_total") < 2_000, "only probes came by it");
    let _by_b = [Raw::connect(&b), Raw::connect(&b)];
    eventually("two connections", SOON, || (member.own("b", "connections") == 2).then_some(()));
    drop(by_a);
    eventually("none is left", SOON, || (member.own("a", "connections") == 0).then_some(()));
    assert!(
        page(&member.admin, "/entries").contains("redis.test: weights rest on reports; this proxy publishes")
    );
}

#[test]
fn headers_tell_where_clients_come_from_and_which_entry_they_came_by() {
    let (server, port, own) = (Server::start(), Port::lease(), Port::lease());
    let own = format!("127.0.0.1:{}", own.number());
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let member = Member::with(options, |admin| {
        let fleet = fleet(port.number(), [&own, ""], [""; 2], admin);
        fleet.replace("[fleet]", &format!("[fleet]\nproxy_protocol = [\"{own}\"]"))
    });
    // Before there is a plan nothing is told of entries.
    member.wait_for("b", "weight");
    let line = format!("PROXY TCP4 203.0.113.9 127.0.0.12 5555 {}\r\n", port.number());
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f".to_vec();
    binary.extend([203, 0, 113, 10, 127, 0, 0, 12, 0x15, 0xb3]);
    binary.extend(port.number().to_be_bytes());
    binary.extend([0x04, 0, 0]);
    for (header, from) in [(line.as_bytes(), "203.0.113.9:5555"), (&binary, "203.0.113.10:5555")] {
        let mut client = Raw::connect(&own);
        // The header and the first request in one packet, cut anywhere.
        let bytes = [header, b"PING\r\n"].concat();
        for cut in bytes.chunks(7) {
            client.send_bytes(cut);
        }
        assert_eq!(client.read().text(), "PONG");
        let info = client.cmd("CLIENT INFO").text();
        assert!(info.contains(&format!("addr={from} laddr=127.0.0.12:{}", port.number())), "{info}");
        assert_eq!(member.own("b", "connections"), 1);
        drop(client);
        eventually("it has gone", SOON, || (member.own("b", "connections") == 0).then_some(()));
    }
    // A balancer's own connection is counted by where it came.
    let mut check = Raw::connect(&own);
    check.send_bytes(b"PROXY UNKNOWN\r\nPING\r\n");
    assert_eq!(check.read().text(), "PONG");
    assert_eq!(member.own("a", "connections"), 1);
    for wrong in
        ["PING\r\n", "*1\r\n$4\r\nPING\r\n", "PROXY TCP4 nonsense\r\n", "PROXY TCP9 1.1.1.1 1.1.1.1 1 1\r\n"]
    {
        let mut client = Raw::connect(&own);
        client.send_bytes(wrong.as_bytes());
        assert_eq!(client.read_to_close(), b"", "{wrong:?}");
    }
    assert!(member.proxy.metric("proxy_headers_failed") >= 4);
}

#[test]
fn proxies_of_a_fleet_add_up_what_they_carry_also_when_the_hash_is_deleted() {
    let (cluster, port) = (Cluster::start(), Port::lease());
    let one = Member::start(Options::cluster(&cluster.urls()), port.number());
    let other_port = Port::lease();
    let other = format!("127.0.0.1:{}", other_port.number());
    let two = Member::with(Options::cluster(&cluster.urls()), |admin| {
        fleet(port.number(), [&other, ""], [""; 2], admin)
    });
    let [a, _] = entries(port.number());
    let _clients = [Raw::connect(&a), Raw::connect(&a), Raw::connect(&other)];
    for member in [&one, &two] {
        member.wait_for("a", ", 3 connections");
    }
    let leaders = || {
        let leads = |member: &Member| page(&member.admin, "/entries").contains("this proxy publishes");
        usize::from(leads(&one)) + usize::from(leads(&two))
    };
    eventually("one leads", SOON, || (leaders() == 1).then_some(()));
    let mut client = one.proxy.client();
    let hash = client.cmd("HLEN __slotway:{redis.test}:entries");
    assert_eq!(hash.int(), 2);
    assert_eq!(client.cmd("DEL __slotway:{redis.test}:entries __slotway:{redis.test}:leader").int(), 2);
    eventually("both report again", SOON, || {
        (client.cmd("HLEN __slotway:{redis.test}:entries").int() == 2).then_some(())
    });
    // What is no report does no harm, and neither does a key of another type.
    client.cmd("HSET __slotway:{redis.test}:entries somebody nonsense");
    client.cmd("SET __slotway:{redis.test}:leader nobody");
    one.wait_for("a", ", 3 connections");
    client.cmd("DEL __slotway:{redis.test}:entries");
    client.cmd("SET __slotway:{redis.test}:entries text");
    eventually("that is told", SOON, || {
        one.proxy.process().log().contains("reports of the fleet can't be exchanged").then_some(())
    });
    client.cmd("DEL __slotway:{redis.test}:entries");
    eventually("both report again", SOON, || {
        (client.cmd("HLEN __slotway:{redis.test}:entries").int() == 2).then_some(())
    });
    for member in [&one, &two] {
        member.wait_for("a", ", 3 connections");
    }
    // Whoever ends is missed after some seconds.
    drop(two);
    one.wait_for("a", ", 2 connections");
}

#[test]
fn an_entry_that_leads_nowhere_or_is_to_be_left_gets_nobody() {
    let (server, port) = (Server::start(), Port::lease());
    let [a, b] = entries(port.number());
    let member = Member::start(Options::standalone(&format!("redis://{}", server.addr())), port.number());
    member.wait_for("a", "weight 1000, up");
    member.wait_for("b", "weight 1000, up");
    let reload = |listen, more| member.reload(&fleet(port.number(), listen, more, &member.admin));
    reload([&a, &b], ["drain = true", ""]);
    member.wait_for("a", "weight 0, up, drain");
    reload([&a, &b], ["", ""]);
    member.wait_for("a", "weight 1000, up");
    // Half of what the entries carry is still up, so it is believed.
    reload([&a, ""], ["", ""]);
    member.wait_for("b", "weight 0, down");
    assert_eq!(number(&member.admin, "slotway_entry_up{entry=\"b\"}"), Some(0));
    reload([&a, &b], ["", ""]);
    member.wait_for("b", "weight 1000, up");
}
