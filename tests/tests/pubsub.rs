//! Pub/Sub through the proxy: what subscribers see is what a server would show them, however they share.

use std::thread::spawn;
use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::subscriber::{first_word, message, publish, start, texts};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

/// What a client says, or, behind a `!`, what another one says, and how many frames come by that.
type Script = &'static [(&'static str, usize)];

const RESP2: Script = &[
    ("UNSUBSCRIBE", 1),
    ("PUNSUBSCRIBE", 1),
    ("SUNSUBSCRIBE", 1),
    ("UNSUBSCRIBE x y x", 3),
    ("SUBSCRIBE", 1),
    ("SUBSCRIBE a b a", 3),
    ("!PUBLISH a one", 1),
    ("!PUBLISH none one", 0),
    ("GET k", 1),
    ("CONFIG GET x", 1),
    ("HELLO 3", 1),
    ("CLIENT ID", 1),
    ("PUBLISH a x", 1),
    ("PING", 1),
    ("PING hi", 1),
    ("PING a b", 1),
    ("NOSUCH", 1),
    ("GET", 1),
    ("PSUBSCRIBE a* [ab]", 2),
    ("SSUBSCRIBE s", 1),
    ("!PUBLISH b two", 2),
    ("!PUBLISH a2 three", 1),
    ("!SPUBLISH s four", 1),
    ("!SPUBLISH a five", 0),
    ("PUNSUBSCRIBE [ab] nothing", 2),
    ("UNSUBSCRIBE b", 1),
    ("!PUBLISH b six", 0),
    ("UNSUBSCRIBE", 1),
    ("PUNSUBSCRIBE", 1),
    ("GET k", 1),
    ("SUNSUBSCRIBE", 1),
    ("GET k", 1),
    ("PING", 1),
    ("CLIENT REPLY OFF", 0),
    ("SUBSCRIBE a", 1),
    ("!PUBLISH a seven", 1),
    ("UNSUBSCRIBE a", 1),
    ("CLIENT REPLY ON", 1),
    ("CLIENT REPLY SKIP", 0),
    ("SUBSCRIBE a", 1),
    ("PING", 1),
    ("RESET", 1),
    ("!PUBLISH a eight", 0),
    ("PING", 1),
    ("PUBSUB NUMSUB", 1),
    ("PUBSUB NUMSUB a b", 1),
    ("PUBSUB NUMPAT", 1),
    ("PUBSUB CHANNELS", 1),
    ("PUBSUB CHANNELS a b", 1),
    ("PUBSUB SHARDNUMSUB s", 1),
    ("PUBSUB SHARDCHANNELS", 1),
    ("SUBSCRIBE a", 1),
    ("QUIT", 1),
];

const RESP3: Script = &[
    ("UNSUBSCRIBE", 1),
    ("PUNSUBSCRIBE p", 1),
    ("SUNSUBSCRIBE", 1),
    ("SUBSCRIBE a b a", 3),
    ("PSUBSCRIBE b*", 1),
    ("SSUBSCRIBE s t", 2),
    ("!PUBLISH a one", 1),
    ("!PUBLISH b2 two", 1),
    ("!SPUBLISH t three", 1),
    ("GET k", 1),
    ("PING", 1),
    ("PING hi", 1),
    ("ECHO x", 1),
    ("PUBSUB NUMSUB a b c", 1),
    ("PUBSUB NUMPAT", 1),
    ("PUBSUB CHANNELS a*", 1),
    ("PUBSUB SHARDNUMSUB s t a", 1),
    ("PUBSUB SHARDCHANNELS s", 1),
    ("CLIENT REPLY OFF", 0),
    ("SUBSCRIBE c", 1),
    ("!PUBLISH c four", 1),
    ("PING", 0),
    ("UNSUBSCRIBE c", 1),
    ("CLIENT REPLY ON", 1),
    ("UNSUBSCRIBE b", 1),
    ("UNSUBSCRIBE", 1),
    ("PUNSUBSCRIBE", 1),
    ("SUNSUBSCRIBE s", 1),
    ("SUNSUBSCRIBE", 1),
    ("SUBSCRIBE a", 1),
    ("CLIENT REPLY SKIP", 0),
    ("SUBSCRIBE b", 1),
    ("GET k", 1),
    ("RESET", 1),
    ("!PUBLISH a five", 0),
    ("PING", 1),
    ("SUBSCRIBE a", 1),
    ("PING", 1),
    ("QUIT", 1),
];

/// Plays a script at `addr`; gives each step with the bytes that came by it.
fn play(addr: &str, protocol: u8, script: Script) -> Vec<(&'static str, String)> {
    let (mut client, mut other) = (Raw::speaking(addr, protocol), Raw::connect(addr));
    let mut played = Vec::new();
    for &(line, frames) in script {
        match line.strip_prefix('!') {
            Some(line) => assert!(!other.cmd(line).is_error(), "{line}"),
            None => client.send_line(line),
        }
        let came: Vec<u8> = (0..frames).flat_map(|_| client.read_frame()).collect();
        played.push((line, came.escape_ascii().to_string()));
    }
    // Whatever came beyond what was counted.
    played.push(("the end", client.read_to_close().escape_ascii().to_string()));
    played
}

#[test]
fn a_message_and_a_confirmation_in_one_read_both_reach_their_client() {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    for round in 0..3 {
        let mut listener = proxy.client();
        listener.cmd("SUBSCRIBE a");
        let mut publisher = server.client();
        publisher.cmd("PING");
        // While it is frozen both come to the server, which then answers both in one write.
        server.freeze();
        publisher.send_line("PUBLISH a text");
        let sent = proxy.metric("backend_writes");
        listener.send_line(&format!("SUBSCRIBE b{round}"));
        eventually("the proxy asks the server", SOON, || {
            (proxy.metric("backend_writes") > sent).then_some(())
        });
        server.thaw();
        assert_eq!(texts(&listener.read()), ["message", "a", "text"]);
        assert_eq!(texts(&listener.read())[..2], ["subscribe".to_owned(), format!("b{round}")]);
        server.client().cmd(&format!("PUBLISH b{round} more"));
        assert_eq!(texts(&listener.read())[0], "message");
    }
}

#[test]
fn subscribers_see_what_a_server_would_show_them() {
    for kind in [Kind::Redis, Kind::Valkey] {
        if let Err(reason) = kind.binary() {
            println!("skipped: {reason}");
            continue;
        }
        for (protocol, script) in [(2, RESP2), (3, RESP3)] {
            // Another server each time: the proxy's own subscriptions from before may still be counted.
            let server = Server::with(kind, &[]);
            let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
            let direct = play(&server.addr(), protocol, script);
            let through = play(&proxy.addr(), protocol, script);
            for (direct, through) in direct.iter().zip(&through) {
                assert_eq!(direct, through, "RESP{protocol}");
            }
        }
    }
}

#[test]
fn a_resp3_subscriber_that_goes_over_to_resp2_is_a_resp2_subscriber() {
    let (_server, proxy) = start(&[]);
    let mut client = Raw::speaking(&proxy.addr(), 3);
    client.cmd("SUBSCRIBE a");
    assert!(!client.cmd("HELLO 2").is_error());
    assert!(client.cmd("GET k").error().starts_with("ERR Can't execute 'get'"));
    publish(&mut proxy.client(), "a", "m");
    assert_eq!(client.read_frame(), b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n");
    client.send_line("PING");
    assert_eq!(client.read_frame(), b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}

#[test]
fn thousands_of_subscribers_share_one_backend_subscription_a_worker() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut clients: Vec<Raw> =
        (0..2_000).map(|number| Raw::speaking(&proxy.addr(), 2 + (number % 2) as u8)).collect();
    for client in &mut clients {
        client.send_line("SUBSCRIBE everybody");
    }
    for client in &mut clients {
        assert_eq!(client.read().items()[0].text(), "subscribe");
    }
    assert_eq!(backend_subscribers(&cluster, "everybody"), 2, "one a worker");
    let mut other = proxy.client();
    assert_eq!(other.cmd("PUBSUB NUMSUB everybody").items()[1].int(), 2_000);
    assert_eq!(proxy.metric("subscribed_clients"), 2_000);
    assert_eq!(proxy.metric("subscriptions_backend"), 2);
    for number in 0..5 {
        publish(&mut other, "everybody", &number.to_string());
    }
    for client in &mut clients {
        for number in 0..5 {
            assert_eq!(message(client), ("everybody".to_owned(), number.to_string()));
        }
    }
    assert_eq!(proxy.metric("pubsub_messages"), 10_000);
    drop(clients);
    eventually("the backends were left", SOON, || {
        (backend_subscribers(&cluster, "everybody") == 0).then_some(())
    });
    eventually("nobody is counted", SOON, || {
        let left = proxy.metric("subscribed_clients") + proxy.metric("subscriptions_backend");
        (left == 0).then_some(())
    });
}

#[test]
fn channels_are_spread_over_the_nodes_and_messages_come_wherever_they_are_published() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let channels: Vec<String> = (0..3).map(|node| cluster.key_on(node, "spread")).collect();
    let mut client = proxy.client();
    for channel in &channels {
        client.call(&["SUBSCRIBE", channel]);
    }
    for (node, channel) in channels.iter().enumerate() {
        let at_node = cluster.node(node).client().cmd("PUBSUB CHANNELS spread*");
        assert_eq!(texts(&at_node), std::slice::from_ref(channel));
    }
    for node in 0..3 {
        for channel in &channels {
            let text = format!("{channel} at {node}");
            cluster.node(node).client().call(&["PUBLISH", channel, &text]);
            assert_eq!(message(&mut client), (channel.clone(), text));
        }
    }
}

#[test]
fn standalone_shards_deliver_what_is_published_through_the_proxy() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(|server| format!("redis://{}", server.addr()));
    let proxy = Options::shards(&urls).start();
    let mut client = Raw::speaking(&proxy.addr(), 3);
    let mut other = proxy.client();
    for number in 0..20 {
        let (channel, shard) = (format!("c{number}"), format!("s{number}"));
        client.call(&["SUBSCRIBE", &channel]);
        client.call(&["SSUBSCRIBE", &shard]);
        assert_eq!(publish(&mut other, &channel, "m"), 1);
        assert_eq!(message(&mut client), (channel, "m".to_owned()));
        assert_eq!(other.call(&["SPUBLISH", &shard, "n"]).int(), 1);
        assert_eq!(message(&mut client), (shard, "n".to_owned()));
    }
}

#[test]
fn a_confirmation_keeps_its_place_in_a_pipeline() {
    let (_server, proxy) = start(&[]);
    let mut other = proxy.client();
    for round in 0..50 {
        let mut client = Raw::speaking(&proxy.addr(), 3);
        client.send_bytes(
            b"SET k v\r\nGET k\r\nSUBSCRIBE a b\r\nGET k\r\nUNSUBSCRIBE a\r\nPING\r\nSUBSCRIBE c\r\n",
        );
        let words: Vec<String> = client.read_many(8).iter().map(first_word).collect();
        let all = ["OK", "v", "subscribe", "subscribe", "v", "unsubscribe", "PONG", "subscribe"];
        assert_eq!(words, all, "round {round}");
        publish(&mut other, "a", "not this one");
        publish(&mut other, "c", "this one");
        assert_eq!(message(&mut client), ("c".to_owned(), "this one".to_owned()));
    }
}

#[test]
fn no_message_comes_in_front_of_its_confirmation() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let (channel, key) = (cluster.key_on(0, "channel"), cluster.key_on(1, "key"));
    let mut other = proxy.client();
    for protocol in [2, 3] {
        // Both workers are subscribed already: whoever comes is confirmed at once, in its turn.
        let mut listeners: Vec<Raw> = (0..2).map(|_| proxy.client()).collect();
        for listener in &mut listeners {
            listener.call(&["SUBSCRIBE", &channel]);
        }
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        cluster.node(1).freeze();
        client.send(&["GET", &key]);
        client.send(&["SUBSCRIBE", &channel]);
        assert!(client.is_silent_for(Duration::from_millis(300)));
        publish(&mut other, &channel, "too early");
        for listener in &mut listeners {
            assert_eq!(message(listener).1, "too early");
        }
        cluster.node(1).thaw();
        assert_eq!(client.read(), Value::Nil);
        assert_eq!(first_word(&client.read()), "subscribe");
        publish(&mut other, &channel, "in time");
        assert_eq!(message(&mut client).1, "in time");
    }
}

#[test]
fn messages_go_between_replies_and_never_within_one() {
    let (_server, proxy) = start(&["cluster.command_timeout=60s", "clients.pubsub_output_hard=512MiB"]);
    let mut client = Raw::speaking(&proxy.addr(), 3);
    let value = "v".repeat(300_000);
    client.call(&["SET", "big", &value]);
    client.cmd("SUBSCRIBE a");
    let addr = proxy.addr();
    let publisher = spawn(move || {
        let mut other = Raw::connect(&addr);
        for number in 0..3_000 {
            publish(&mut other, "a", &format!("{number}:{}", "m".repeat(number % 700)));
        }
    });
    let (mut messages, mut replies) = (0, 0);
    client.send_bytes(&b"GET big\r\n".repeat(200));
    while messages < 3_000 || replies < 200 {
        let frame = client.read_frame();
        if frame.starts_with(b">") {
            let items = Value::decode(&frame);
            let text = items.items()[2].text();
            assert_eq!(text, format!("{messages}:{}", "m".repeat(messages % 700)), "in their order");
            messages += 1;
        } else {
            assert!(frame.starts_with(b"$300000\r\nvvv") && frame.len() == 300_011);
            replies += 1;
        }
    }
    publisher.join().expect("a publisher");
}

#[test]
fn nobody_gets_what_is_not_for_him() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let addr = proxy.addr();
    let listeners: Vec<_> = (0..16)
        .map(|number| {
            let addr = addr.clone();
            spawn(move || {
                let mut client = Raw::speaking(&addr, 2 + (number % 2) as u8);
                let own = format!("own:{number}");
                client.call(&["SUBSCRIBE", "shared", "ready"]);
                client.read();
                client.call(&["SSUBSCRIBE", &own]);
                client.call(&["PSUBSCRIBE", &format!("p:{number}:*")]);
                let mut texts = Vec::new();
                loop {
                    let frame = client.read();
                    let items = frame.items();
                    let (channel, text) = (items[items.len() - 2].text(), items[items.len() - 1].text());
                    if channel == "ready" {
                        continue;
                    }
                    let is_mine =
                        channel == "shared" || channel == own || channel.starts_with(&format!("p:{number}:"));
                    assert!(is_mine && text.starts_with(&channel), "{channel}: {text}");
                    if text.ends_with("end") {
                        return texts;
                    }
                    texts.push(text);
                }
            })
        })
        .collect();
    let mut other = proxy.client();
    eventually("all listen", SOON, || {
        let patterns = other.cmd("PUBSUB NUMPAT").int();
        (patterns == 16).then_some(())
    });
    for round in 0..100 {
        publish(&mut other, "shared", &format!("shared {round}"));
        for number in 0..16 {
            let (own, pattern) = (format!("own:{number}"), format!("p:{number}:{round}"));
            other.call(&["SPUBLISH", &own, &format!("{own} {round}")]);
            publish(&mut other, &pattern, &format!("{pattern} x"));
        }
    }
    // Kinds come over links of their own: the last word waits until the others were counted.
    eventually("all was delivered", SOON, || (proxy.metric("pubsub_messages") == 16 * 300).then_some(()));
    publish(&mut other, "shared", "shared end");
    for listener in listeners {
        let texts = listener.join().expect("only its own messages");
        assert_eq!(texts.len(), 300);
        let shared: Vec<_> = texts.iter().filter(|text| text.starts_with("shared")).collect();
        assert!((0..100).all(|round| *shared[round] == format!("shared {round}")), "in their order");
    }
}

#[test]
fn subscribers_of_all_workers_are_told_of_and_can_be_killed() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut listeners: Vec<Raw> = (0..8).map(|_| proxy.client()).collect();
    for (number, client) in listeners.iter_mut().enumerate() {
        client.call(&["SUBSCRIBE", "all", &format!("one:{number}")]);
        client.read();
        client.call(&["PSUBSCRIBE", "p*"]);
        client.call(&["SSUBSCRIBE", "s1"]);
    }
    let mut other = proxy.client();
    assert_eq!(texts(&other.cmd("PUBSUB CHANNELS")).len(), 9);
    assert_eq!(texts(&other.cmd("PUBSUB CHANNELS one:[0-3]")).len(), 4);
    assert_eq!(other.cmd("PUBSUB NUMPAT").int(), 1);
    assert_eq!(other.cmd("PUBSUB NUMSUB all one:1 none").items()[1].int(), 8);
    assert_eq!(other.cmd("PUBSUB SHARDNUMSUB s1").items()[1].int(), 8);
    assert_eq!(texts(&other.cmd("PUBSUB SHARDCHANNELS")), ["s1"]);
    let list = other.cmd("CLIENT LIST TYPE pubsub").text();
    assert_eq!(list.lines().count(), 8);
    assert!(list.lines().all(|line| line.contains(" flags=P db=0 sub=2 psub=1 ssub=1 ")), "{list}");
    assert_eq!(other.cmd("CLIENT LIST TYPE normal").text().lines().count(), 1);
    assert_eq!(other.cmd("CLIENT KILL TYPE pubsub").int(), 8);
    for mut client in listeners {
        assert!(client.read_to_close().is_empty());
    }
    assert_eq!(texts(&other.cmd("PUBSUB CHANNELS")), Vec::<String>::new());
}

fn backend_subscribers(cluster: &Cluster, channel: &str) -> i64 {
    let at = |node| cluster.node(node).client().call(&["PUBSUB", "NUMSUB", channel]).items()[1].int();
    (0..cluster.len()).map(at).sum()
}
