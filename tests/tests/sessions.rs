//! What one connection is: protocol, login, name, order of replies, and how it ends.

use std::io::Write;
use std::thread::spawn;
use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

#[test]
fn hello_switches_the_protocol_of_this_client_only() {
    let (_server, proxy, mut client) = start();
    let mut other = proxy.client();
    client.cmd("HSET h f v");
    let hello = client.cmd("HELLO 3");
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
    assert_eq!(hello.field("proto").int(), 3);
    assert!(hello.field("id").int() > 0);
    assert!(matches!(client.cmd("HGETALL h"), Value::Map(_)));
    client.send_line("GET missing");
    assert_eq!(client.read_frame(), b"_\r\n");
    assert!(matches!(other.cmd("HGETALL h"), Value::Array(_)));
    other.send_line("GET missing");
    assert_eq!(other.read_frame(), b"$-1\r\n");
    assert!(matches!(client.cmd("HELLO 2"), Value::Array(_)));
    assert!(matches!(client.cmd("HGETALL h"), Value::Array(_)));
    assert_eq!(client.cmd("HELLO").field("proto").int(), 2);
    assert!(client.cmd("HELLO 9").error().starts_with("NOPROTO"));
    assert_eq!(client.cmd("HELLO 3 SETNAME me").field("proto").int(), 3);
    assert_eq!(client.cmd("CLIENT GETNAME").text(), "me");
}

#[test]
fn a_protocol_switch_within_a_pipeline_counts_from_there_on() {
    let (_server, _proxy, mut client) = start();
    client.cmd("HSET h f v");
    for line in ["HGETALL h", "HELLO 3", "HGETALL h", "HELLO 2", "HGETALL h"] {
        client.send_line(line);
    }
    let replies = client.read_many(5);
    assert!(matches!(replies[0], Value::Array(_)));
    assert!(matches!(replies[1], Value::Map(_)));
    assert!(matches!(replies[2], Value::Map(_)));
    assert!(matches!(replies[3], Value::Array(_)));
    assert!(matches!(replies[4], Value::Array(_)));
}

#[test]
fn users_have_to_log_in() {
    let server = Server::start();
    let users = format!(
        "[[users]]\nname = \"default\"\npasswords_sha256 = [\"{SECRET}\"]\n\
         [[users]]\nname = \"ann\"\npasswords_sha256 = [\"{SECRET}\"]\n"
    );
    let standalone = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&standalone).config(&users).start();
    let mut client = proxy.client();
    assert_eq!(client.cmd("GET a").error(), "NOAUTH Authentication required.");
    assert_eq!(client.cmd("PING").error(), "NOAUTH Authentication required.");
    assert!(client.cmd("HELLO 3").error().starts_with("NOAUTH"));
    assert!(client.cmd("AUTH wrong").error().starts_with("WRONGPASS"));
    assert!(client.cmd("AUTH nobody secret").error().starts_with("WRONGPASS"));
    assert_eq!(client.cmd("AUTH secret").text(), "OK");
    assert_eq!(client.cmd("GET a"), Value::Nil);
    assert_eq!(client.cmd("ACL WHOAMI").text(), "default");
    let mut ann = proxy.client();
    assert_eq!(ann.cmd("HELLO 3 AUTH ann secret").field("proto").int(), 3);
    assert_eq!(ann.cmd("ACL WHOAMI").text(), "ann");
    assert_eq!(ann.cmd("RESET").text(), "RESET");
    assert_eq!(ann.cmd("GET a").error(), "NOAUTH Authentication required.");
}

#[test]
fn the_proxy_logs_in_to_its_backends() {
    let server = Server::with(Kind::usual(), &[("requirepass", "backend secret")]);
    let with_password = format!("redis://:backend%20secret@{}", server.addr());
    let proxy = Options::standalone(&with_password).start();
    assert_eq!(proxy.client().cmd("SET a 1").text(), "OK");
    let mut admin = server.client();
    admin.cmd("AUTH \"backend secret\"");
    admin.cmd("ACL SETUSER slotway on >pw ~* +@all");
    let as_user = format!("redis://slotway:pw@{}", server.addr());
    let proxy = Options::standalone(&as_user).start();
    assert_eq!(proxy.client().cmd("GET a").text(), "1");
    assert!(admin.cmd("CLIENT LIST").text().contains("user=slotway"));
}

#[test]
fn select_keeps_databases_of_a_single_server_apart() {
    let (server, _proxy, mut client) = start();
    client.cmd("SET k zero");
    assert_eq!(client.cmd("SELECT 3").text(), "OK");
    assert_eq!(client.cmd("GET k"), Value::Nil);
    client.cmd("SET k three");
    for line in ["SELECT 0", "GET k", "SELECT 3", "GET k"] {
        client.send_line(line);
    }
    let replies = client.read_many(4);
    assert_eq!((replies[1].text(), replies[3].text()), ("zero".into(), "three".into()));
    assert_eq!(client.cmd("SELECT 16").error(), "ERR DB index is out of range");
    let mut direct = server.client();
    direct.cmd("SELECT 3");
    assert_eq!(direct.cmd("GET k").text(), "three");
}

#[test]
fn a_cluster_has_database_zero_only() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    assert_eq!(client.cmd("SELECT 0").text(), "OK");
    assert!(client.cmd("SELECT 1").is_error());
}

#[test]
fn reset_makes_a_connection_as_good_as_new() {
    let (_server, _proxy, mut client) = start();
    client.cmd("HELLO 3 SETNAME me");
    client.cmd("SELECT 5");
    client.cmd("SET k five");
    assert_eq!(client.cmd("RESET"), Value::Simple(b"RESET".to_vec()));
    client.send_line("GET k");
    assert_eq!(client.read_frame(), b"$-1\r\n", "database 0 and RESP2");
    assert_eq!(client.cmd("CLIENT GETNAME").text(), "nil");
}

#[test]
fn quit_says_ok_and_closes_after_earlier_replies() {
    let (_server, _proxy, mut client) = start();
    for line in ["SET a 1", "GET a", "QUIT", "GET a"] {
        client.send_line(line);
    }
    assert_eq!(client.read_to_close(), b"+OK\r\n$1\r\n1\r\n+OK\r\n");
}

#[test]
fn clients_are_listed_named_and_killed() {
    let (_server, proxy, mut client) = start();
    let mut victim = proxy.client();
    victim.cmd("CLIENT SETNAME victim");
    let id = victim.cmd("CLIENT ID").int();
    assert_ne!(id, client.cmd("CLIENT ID").int());
    let list = client.cmd("CLIENT LIST").text();
    assert!(list.lines().any(|line| line.contains("name=victim") && line.contains(&format!("id={id} "))));
    assert!(victim.cmd("CLIENT INFO").text().contains("name=victim"));
    assert_eq!(client.cmd(&format!("CLIENT KILL ID {id}")).int(), 1);
    assert!(victim.read_to_close().is_empty());
    assert!(!client.cmd("CLIENT LIST").text().contains("victim"));
    assert_eq!(client.cmd("PING").text(), "PONG");
}

#[test]
fn client_reply_off_and_skip_are_silent() {
    let (_server, _proxy, mut client) = start();
    for line in ["CLIENT REPLY SKIP", "SET a 1", "GET a"] {
        client.send_line(line);
    }
    assert_eq!(client.read().text(), "1", "SKIP swallows itself and the next");
    for line in ["CLIENT REPLY OFF", "SET b 1", "GET b", "PING", "CLIENT REPLY ON", "GET b"] {
        client.send_line(line);
    }
    assert_eq!(client.read().text(), "OK", "of CLIENT REPLY ON");
    assert_eq!(client.read().text(), "1");
}

#[test]
fn a_reply_has_the_protocol_of_its_request() {
    let (_server, _proxy, mut client) = start();
    client.send_bytes(b"INFO keyspace\r\nCLIENT LIST\r\nHELLO 3\r\nINFO keyspace\r\n");
    assert!(client.read_frame().starts_with(b"$"));
    assert!(client.read_frame().starts_with(b"$"));
    assert!(client.read_frame().starts_with(b"%"));
    assert!(client.read_frame().starts_with(b"="));
}

#[test]
fn a_script_that_does_not_end_can_be_killed() {
    // It can be killed only when the server says that it is busy: by default after as long as a command may take.
    let server = Server::with(Kind::usual(), &[("lua-time-limit", "500")]);
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let mut client = proxy.client();
    client.send(&["EVAL", "while true do end", "0"]);
    let mut killer = proxy.client();
    eventually("the script is killed", Duration::from_secs(10), || {
        (killer.cmd("SCRIPT KILL").text() == "OK").then_some(())
    });
    assert!(client.read().is_error());
    assert_eq!(client.cmd("PING").text(), "PONG");
}

#[test]
fn inline_commands_are_served() {
    let (_server, _proxy, mut client) = start();
    client.send_bytes(b"SET k \"a \\x41 b\"\r\nGET k\n\r\n  \r\nPING\r\n");
    assert_eq!(client.read().text(), "OK");
    assert_eq!(client.read().text(), "a A b");
    assert_eq!(client.read().text(), "PONG");
    client.send_bytes(b"GET k\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nget k\r\n");
    assert!(client.read_many(3).iter().all(|reply| reply.text() == "a A b"));
}

#[test]
fn a_pipeline_of_ten_thousand_is_answered_in_order() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let mut sender = client.sender();
    let sending = spawn(move || {
        let commands = (0..10_000).map(|number| format!("SET key:{number} {number}\r\nGET key:{number}\r\n"));
        sender.write_all(commands.collect::<String>().as_bytes()).expect("the proxy reads on");
    });
    for number in 0..10_000 {
        assert_eq!(client.read().text(), "OK");
        assert_eq!(client.read().text(), number.to_string());
    }
    sending.join().expect("all was sent");
}

#[test]
fn a_client_that_half_closes_gets_all_its_replies() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    for number in 0..100 {
        client.send_line(&format!("SET half:{number} {number}"));
    }
    client.send_line("DBSIZE");
    client.finish_sending();
    let replies = client.read_to_close();
    assert_eq!(replies, [b"+OK\r\n".repeat(100), b":100\r\n".to_vec()].concat());
}

#[test]
fn what_is_never_served_is_refused_clearly_and_the_session_goes_on() {
    let (_server, _proxy, mut client) = start();
    for line in [
        "WAITAOF 0 0 0",
        "CLIENT PAUSE 10",
        "ACL SETUSER u on",
        "WAIT 0 0",
        "SHUTDOWN NOSAVE",
        "REPLICAOF no one",
        "CLUSTER RESET",
    ] {
        let reply = client.cmd(line);
        assert!(reply.is_error() && reply.error().contains(' '), "{line}: {reply:?}");
        assert_eq!(client.cmd("PING").text(), "PONG", "after {line}");
    }
}

#[test]
fn cluster_aware_clients_see_one_node_that_owns_every_slot() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let slots = client.cmd("CLUSTER SLOTS");
    let [range] = slots.items() else { panic!("{slots:?}") };
    assert_eq!((range.items()[0].int(), range.items()[1].int()), (0, 16_383));
    let node = range.items()[2].items();
    assert_eq!(format!("{}:{}", node[0].text(), node[1].int()), proxy.addr());
    let shards = client.cmd("CLUSTER SHARDS");
    assert_eq!(shards.items().len(), 1);
    assert_eq!(shards.items()[0].field("slots").items(), [0, 16_383].map(Value::Int));
    assert!(client.cmd("CLUSTER INFO").text().contains("cluster_state:ok"));
    assert_eq!(client.cmd("CLUSTER KEYSLOT foo").int(), 12_182);
    assert_eq!(client.cmd("CLUSTER MYID").text().len(), 40);
    assert!(client.cmd("CLUSTER NODES").text().contains("myself,master"));
}

#[test]
fn info_has_a_section_of_the_proxy() {
    let (_server, _proxy, mut client) = start();
    let info = client.cmd("INFO").text();
    assert!(info.contains("redis_version:"), "clients look for it:\n{info}");
    assert!(info.to_lowercase().contains("# slotway"), "{info}");
    assert!(client.cmd("INFO slotway").text().to_lowercase().contains("# slotway"));
}

#[test]
fn a_client_that_says_nothing_is_not_spoken_to() {
    let (_server, _proxy, mut client) = start();
    assert!(client.is_silent_for(Duration::from_millis(200)));
    assert_eq!(client.cmd("PING").text(), "PONG");
}

fn start() -> (Server, Proxy, Raw) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let client = proxy.client();
    (server, proxy, client)
}
