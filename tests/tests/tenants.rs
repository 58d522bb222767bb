//! Who a client is, what it may say as whom, and what it keeps when it becomes another.

use std::time::Duration;

use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

/// A server, and a proxy with the tenants `shop`, that may not say everything, and `web`.
fn start() -> (Server, Proxy) {
    let server = Server::start();
    let tenants = format!(
        "[[tenants]]\nname = \"shop\"\ncommands = \"+@all -@dangerous +client -eval\"\n\
         [[tenants.users]]\nname = \"ann\"\npasswords_sha256 = [\"{SECRET}\", \"{OTHER}\"]\n\
         [[tenants.users]]\nname = \"default\"\npasswords_sha256 = [\"{SECRET}\"]\n\
         [[tenants]]\nname = \"web\"\n\
         [[tenants.users]]\nname = \"web\"\npasswords_sha256 = [\"{SECRET}\"]\n"
    );
    let url = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&url).config(&tenants).start();
    (server, proxy)
}

fn logged_in(proxy: &Proxy, user: &str) -> Raw {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("AUTH {user} secret")).text(), "OK");
    client
}

#[test]
fn each_password_of_a_user_lets_it_in() {
    let (_server, proxy) = start();
    for password in ["secret", "other"] {
        let mut client = proxy.client();
        assert_eq!(client.cmd("GET a").error(), "NOAUTH Authentication required.");
        assert_eq!(client.cmd(&format!("AUTH ann {password}")).text(), "OK");
        assert_eq!(client.cmd("ACL WHOAMI").text(), "ann");
        assert_eq!(client.cmd("GET a"), Value::Nil);
    }
    let mut client = proxy.client();
    assert!(client.cmd("AUTH web other").error().starts_with("WRONGPASS"));
    assert_eq!(client.cmd("AUTH secret").text(), "OK");
    assert_eq!(client.cmd("ACL WHOAMI").text(), "default");
}

#[test]
fn a_tenant_says_what_its_rules_allow_also_in_transactions() {
    let (_server, proxy) = start();
    let mut ann = logged_in(&proxy, "ann");
    let refused = "NOPERM User ann has no permissions to run the 'flushall' command";
    assert_eq!(ann.cmd("FLUSHALL").error(), refused);
    assert!(ann.cmd("EVAL 'return 1' 0").error().starts_with("NOPERM"));
    assert!(ann.cmd("CONFIG GET maxmemory").error().contains("'config|get'"));
    assert_eq!(ann.cmd("SET a 1").text(), "OK");
    ann.cmd("MULTI");
    assert_eq!(ann.cmd("FLUSHALL").error(), refused);
    ann.cmd("SET a 2");
    assert!(ann.cmd("EXEC").error().starts_with("EXECABORT"));
    assert_eq!(ann.cmd("GET a").text(), "1");
    assert_eq!(logged_in(&proxy, "web").cmd("FLUSHALL").text(), "OK");
}

#[test]
fn who_becomes_another_tenant_keeps_nothing() {
    let (_server, proxy) = start();
    let mut client = logged_in(&proxy, "ann");
    client.cmd("SELECT 3");
    client.cmd("CLIENT SETNAME canary");
    client.cmd("SET watched 1");
    client.cmd("WATCH watched");
    assert_eq!(client.cmd("SUBSCRIBE news").items()[0].text(), "subscribe");
    assert!(client.cmd("AUTH web secret").error().contains("only (P|S)SUBSCRIBE"));
    client.cmd("UNSUBSCRIBE news");
    let hello = client.cmd("HELLO 3 AUTH ann other");
    assert_eq!(hello.field("proto").int(), 3);
    assert_eq!(client.cmd("CLIENT GETNAME").text(), "canary");
    client.cmd("SUBSCRIBE news");
    assert_eq!(client.cmd("AUTH web secret").text(), "OK");
    assert_eq!(client.cmd("ACL WHOAMI").text(), "web");
    assert_eq!(client.cmd("CLIENT GETNAME"), Value::Nil);
    assert_eq!(client.cmd("GET watched"), Value::Nil);
    // Nothing is watched any more, so nothing aborts; and nothing is listened to.
    let mut web = logged_in(&proxy, "web");
    web.cmd("SELECT 3");
    web.cmd("SET watched 2");
    assert_eq!(web.cmd("PUBLISH news hello").int(), 0);
    client.cmd("MULTI");
    client.cmd("PING");
    assert_eq!(client.cmd("EXEC").items()[0].text(), "PONG");
    assert_eq!(client.cmd("RESET").text(), "RESET");
    assert_eq!(client.cmd("GET a").error(), "NOAUTH Authentication required.");
}

#[test]
fn a_tenant_sees_its_own_clients_only() {
    let (_server, proxy) = start();
    let (mut ann, mut web) = (logged_in(&proxy, "ann"), logged_in(&proxy, "web"));
    ann.cmd("CLIENT SETNAME ann-canary");
    web.cmd("CLIENT SETNAME web-canary");
    let list = web.cmd("CLIENT LIST").text();
    assert!(list.contains("name=web-canary") && !list.contains("ann"), "{list}");
    let id = ann.cmd("CLIENT ID").int();
    assert_eq!(web.cmd(&format!("CLIENT LIST ID {id}")).text(), "");
    assert_eq!(web.cmd(&format!("CLIENT KILL ID {id}")).int(), 0);
    assert_eq!(web.cmd("CLIENT KILL USER ann").int(), 0);
    let mut waiting = logged_in(&proxy, "ann");
    let blocked = waiting.cmd("CLIENT ID").int();
    waiting.send_line("BLPOP nothing 0");
    eventually("the client waits", Duration::from_secs(5), || {
        let mut own = logged_in(&proxy, "ann");
        own.cmd(&format!("CLIENT LIST ID {blocked}")).text().contains("flags=b").then_some(())
    });
    assert_eq!(web.cmd(&format!("CLIENT UNBLOCK {blocked}")).int(), 0);
    let mut same = logged_in(&proxy, "ann");
    assert_eq!(same.cmd(&format!("CLIENT UNBLOCK {blocked}")).int(), 1);
    assert_eq!(waiting.read(), Value::Nil);
    assert_eq!(same.cmd(&format!("CLIENT KILL ID {id}")).int(), 1);
}

#[test]
fn monitors_and_pubsub_tell_of_the_own_tenant() {
    let (_server, proxy) = start();
    let (mut ann, mut web) = (logged_in(&proxy, "ann"), logged_in(&proxy, "web"));
    let mut monitor = logged_in(&proxy, "web");
    assert_eq!(monitor.cmd("MONITOR").text(), "OK");
    let mut listener = logged_in(&proxy, "ann");
    for line in ["SUBSCRIBE ann-canary", "PSUBSCRIBE ann-*"] {
        listener.cmd(line);
    }
    assert_eq!(web.cmd("PUBSUB CHANNELS"), Value::Array(Vec::new()));
    assert_eq!(web.cmd("PUBSUB NUMSUB ann-canary").items()[1].int(), 0);
    assert_eq!(web.cmd("PUBSUB NUMPAT").int(), 0);
    assert_eq!(ann.cmd("PUBSUB CHANNELS").items()[0].text(), "ann-canary");
    assert_eq!(ann.cmd("PUBSUB NUMPAT").int(), 1);
    ann.cmd("SET ann-canary 1");
    web.cmd("SET last 1");
    let mut seen = String::new();
    while !seen.contains("\"last\"") {
        seen.push_str(&monitor.read().text());
    }
    assert!(seen.contains("PUBSUB") && !seen.contains("ann-canary\" \"1"), "{seen}");
    assert!(!seen.contains("SUBSCRIBE"), "{seen}");
}
