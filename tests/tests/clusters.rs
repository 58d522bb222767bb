//! Tenants on clusters of their own behind one proxy: what is of one never meets another, and a client that becomes
//! another tenant goes on at that tenant's cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two tenants: `web` of the default cluster, and `jobs` of the cluster `alone` at this address.
fn tenants(alone: &str) -> String {
    format!(
        "[clusters.alone]\nstandalone = \"redis://{alone}\"\ncommand_timeout = \"1s\"\n\
         [[tenants]]\nname = \"web\"\n\
         [[tenants.users]]\nname = \"web\"\npasswords_sha256 = [\"{SECRET}\"]\n\
         [[tenants]]\nname = \"jobs\"\ncluster = \"alone\"\n\
         [[tenants.users]]\nname = \"jobs\"\npasswords_sha256 = [\"{SECRET}\"]\n"
    )
}

struct Both {
    cluster: Cluster,
    alone: Server,
    proxy: Proxy,
}

fn start() -> Both {
    let (cluster, alone) = (Cluster::start(), Server::start());
    let proxy = Options::cluster(&cluster.urls()).config(&tenants(&alone.addr())).start();
    Both { cluster, alone, proxy }
}

fn logged_in(proxy: &Proxy, user: &str) -> Raw {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("AUTH {user} secret")).text(), "OK");
    client
}

/// What the admin port says of a page: its status and its body.
fn page(admin: &Port, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", admin.number())).expect("the admin port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("asked");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("answered");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn each_tenants_commands_go_to_its_cluster_and_to_no_other() {
    let Both { cluster, alone, proxy } = start();
    let (mut web, mut jobs) = (logged_in(&proxy, "web"), logged_in(&proxy, "jobs"));
    for (client, whose) in [(&mut web, "web"), (&mut jobs, "jobs")] {
        for key in ["a", "b", "c", "d"] {
            assert_eq!(client.cmd(&format!("SET {key} {whose}")).text(), "OK");
        }
    }
    for (client, whose) in [(&mut web, "web"), (&mut jobs, "jobs")] {
        for value in client.cmd("MGET a b c d").items() {
            assert_eq!(value.text(), whose);
        }
        assert_eq!(client.cmd("DBSIZE").int(), 4);
    }
    assert_eq!(alone.client().cmd("GET a").text(), "jobs");
    assert_eq!(alone.client().cmd("DBSIZE").int(), 4);
    let at_nodes: i64 = (0..cluster.len()).map(|node| cluster.node(node).client().cmd("DBSIZE").int()).sum();
    assert_eq!(at_nodes, 4);
    // One has numbered databases, the other none; and an index's keys are one slot's there only.
    assert_eq!(jobs.cmd("SELECT 3").text(), "OK");
    assert_eq!(jobs.cmd("GET a"), Value::Nil);
    assert!(web.cmd("SELECT 3").is_error());
    assert_eq!(jobs.cmd("FLUSHALL").text(), "OK");
    assert_eq!(web.cmd("DBSIZE").int(), 4);
}

#[test]
fn waiting_listening_transactions_and_scripts_are_of_one_cluster() {
    let Both { proxy, cluster: _cluster, alone: _alone } = start();
    let (mut web, mut jobs) = (logged_in(&proxy, "web"), logged_in(&proxy, "jobs"));
    let (mut at_web, mut at_jobs) = (logged_in(&proxy, "web"), logged_in(&proxy, "jobs"));
    for client in [&mut at_web, &mut at_jobs] {
        client.send_line("BLPOP queue 20");
    }
    let blocked = |client: &mut Raw| client.cmd("CLIENT LIST").text().matches("cmd=blpop").count();
    eventually("both wait", PATIENCE, || (blocked(&mut web) == 1 && blocked(&mut jobs) == 1).then_some(()));
    web.cmd("RPUSH queue for-web");
    assert_eq!(at_web.read().items()[1].text(), "for-web");
    assert!(at_jobs.is_silent_for(Duration::from_millis(300)));
    jobs.cmd("RPUSH queue for-jobs");
    assert_eq!(at_jobs.read().items()[1].text(), "for-jobs");

    for client in [&mut at_web, &mut at_jobs] {
        assert_eq!(client.cmd("SUBSCRIBE news").items()[0].text(), "subscribe");
    }
    assert_eq!(jobs.cmd("PUBSUB NUMSUB news").items()[1].int(), 1);
    assert_eq!(jobs.cmd("PUBLISH news hello").int(), 1);
    assert_eq!(at_jobs.read().items()[2].text(), "hello");
    assert!(at_web.is_silent_for(Duration::from_millis(300)));

    for (client, whose) in [(&mut web, "web"), (&mut jobs, "jobs")] {
        client.cmd("MULTI");
        client.cmd(&format!("SET t {whose}"));
        client.cmd("GET t");
        assert_eq!(client.cmd("EXEC").items()[1].text(), whose);
    }
    let sha = jobs.call(&["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]).text();
    assert_eq!(jobs.cmd(&format!("EVALSHA {sha} 1 t")).text(), "jobs");
    assert!(web.cmd(&format!("EVALSHA {sha} 1 t")).error().starts_with("NOSCRIPT"));
}

#[test]
fn who_logs_in_elsewhere_within_a_pipeline_gets_its_replies_in_order() {
    let Both { proxy, cluster: _cluster, alone: _alone } = start();
    logged_in(&proxy, "web").cmd("SET who web");
    logged_in(&proxy, "jobs").cmd("SET who jobs");
    let mut client = proxy.client();
    let (mut said, mut expected) = (String::new(), Vec::new());
    for round in 0..200 {
        for (user, login) in [("web", "AUTH web secret"), ("jobs", "HELLO 2 AUTH jobs secret")] {
            said.push_str(&format!(
                "{login}\r\nMGET who x y\r\nGET who\r\nECHO {round}\r\nAUTH {user} wrong\r\n"
            ));
            said.push_str("GET who\r\nACL WHOAMI\r\n");
            expected.push((user, round));
        }
    }
    client.send_bytes(said.as_bytes());
    for (user, round) in expected {
        let login = client.read();
        match user {
            "web" => assert_eq!(login.text(), "OK"),
            _ => assert_eq!(login.field("proto").int(), 2),
        }
        assert_eq!(client.read().items()[0].text(), user);
        assert_eq!(client.read().text(), user);
        assert_eq!(client.read().text(), round.to_string());
        assert!(client.read().error().starts_with("WRONGPASS"));
        assert_eq!((client.read().text(), client.read().text()), (user.to_owned(), user.to_owned()));
    }
    assert!(client.is_silent_for(Duration::from_millis(100)));
}

#[test]
fn large_requests_behind_a_login_are_handled_where_it_leads() {
    let Both { alone, proxy, cluster: _cluster } = start();
    let mut client = logged_in(&proxy, "web");
    let value = "v".repeat(300_000);
    let mut said = b"*3\r\n$4\r\nAUTH\r\n$4\r\njobs\r\n$6\r\nsecret\r\n".to_vec();
    for key in ["k1", "k2"] {
        said.extend(format!("*3\r\n$3\r\nSET\r\n$2\r\n{key}\r\n$300000\r\n{value}\r\n").into_bytes());
    }
    client.send_bytes(&said);
    for _ in 0..3 {
        assert_eq!(client.read().text(), "OK");
    }
    assert_eq!(alone.client().cmd("STRLEN k2").int(), 300_000);
    assert_eq!(client.cmd("GET k1").text(), value);
}

#[test]
fn a_login_waits_for_what_is_under_way_and_takes_along_what_is_not_taken_yet() {
    let (home, alone) = (Server::start(), Server::start());
    let url = format!("redis://{}", home.addr());
    let proxy = Options::standalone(&url).config(&tenants(&alone.addr())).start();
    logged_in(&proxy, "jobs").cmd("SET who jobs");
    let mut client = logged_in(&proxy, "web");
    client.send_bytes(b"BLPOP nothing 0.3\r\nAUTH jobs secret\r\nGET who\r\nAUTH web secret\r\n");
    assert_eq!(client.read(), Value::Nil);
    assert_eq!((client.read().text(), client.read().text()), ("OK".to_owned(), "jobs".to_owned()));
    assert_eq!(client.read().text(), "OK");
    // Replies that nobody hears are waited for too.
    client.send_bytes(b"CLIENT REPLY OFF\r\nSET muted 1\r\nAUTH jobs secret\r\nSET muted 2\r\n");
    client.send_bytes(b"CLIENT REPLY ON\r\nGET muted\r\nAUTH web secret\r\nGET muted\r\n");
    let replies: Vec<String> = client.read_many(4).iter().map(Value::text).collect();
    assert_eq!(replies, ["OK", "2", "OK", "1"]);
    // Forty times 512 KiB are more than the kernel's buffers take: the rest goes along.
    assert_eq!(client.call(&["SET", "big", &"b".repeat(512 * 1024)]).text(), "OK");
    client.send_bytes(&b"GET big\r\n".repeat(40));
    client.send_bytes(b"AUTH jobs secret\r\nGET who\r\n");
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..40 {
        assert_eq!(client.read().text().len(), 512 * 1024);
    }
    assert_eq!((client.read().text(), client.read().text()), ("OK".to_owned(), "jobs".to_owned()));
}

#[test]
fn above_the_memory_limit_the_largest_holders_of_any_cluster_are_closed() {
    let (home, alone) = (Server::start(), Server::start());
    let url = format!("redis://{}", home.addr());
    let options = Options::standalone(&url).config(&tenants(&alone.addr()));
    let proxy = options.set(&["clients.memory_limit=64MiB"]).start();
    let (mut web, mut jobs) = (logged_in(&proxy, "web"), logged_in(&proxy, "jobs"));
    // Each sends 8 MiB of a request that never ends: 160 MiB in all.
    let beginning = [&b"*2\r\n$4\r\nECHO\r\n$100000000\r\n"[..], &vec![b'x'; 8 << 20]].concat();
    let mut holders: Vec<Raw> = (0..20).map(|_| logged_in(&proxy, "jobs")).collect();
    for holder in &mut holders {
        // Those that are closed early can't send all.
        let _ = holder.try_send_bytes(&beginning);
    }
    eventually("some were closed", PATIENCE, || (proxy_metric(&mut jobs, "clients_shed") > 0).then_some(()));
    assert_eq!(web.cmd("PING").text(), "PONG");
    assert_eq!(proxy_metric(&mut web, "clients_shed"), 0);
}

#[test]
fn who_goes_to_another_cluster_keeps_nothing_of_the_first() {
    let Both { alone, proxy, cluster: _cluster } = start();
    let mut client = logged_in(&proxy, "web");
    client.cmd("HELLO 3");
    client.cmd("CLIENT SETNAME canary");
    client.cmd("WATCH watched");
    client.cmd("CLIENT TRACKING ON");
    client.cmd("GET read");
    client.cmd("SUBSCRIBE news");
    assert_eq!(client.cmd("AUTH jobs secret").text(), "OK");
    assert_eq!(client.cmd("CLIENT GETNAME"), Value::Nil);
    let mut web = logged_in(&proxy, "web");
    eventually("nobody listens", PATIENCE, || (web.cmd("PUBLISH news x").int() == 0).then_some(()));
    web.cmd("SET watched 1");
    web.cmd("SET read 1");
    assert!(client.is_silent_for(Duration::from_millis(300)));
    client.cmd("MULTI");
    client.cmd("PING");
    assert_eq!(client.cmd("EXEC").items()[0].text(), "PONG");
    // What it does from here on is at its new cluster, with its own connections.
    client.cmd("WATCH watched");
    alone.client().cmd("SET watched 2");
    client.cmd("MULTI");
    client.cmd("PING");
    assert_eq!(client.cmd("EXEC"), Value::Nil);
    eventually("no pin is left", PATIENCE, || (proxy_metric(&mut web, "pinned_watch") == 0).then_some(()));
    // A new name in the same request is the new tenant's.
    client.cmd("HELLO 3 AUTH web secret SETNAME mine");
    assert_eq!(client.cmd("CLIENT GETNAME").text(), "mine");
    assert_eq!(client.cmd("GET watched").text(), "1");
    assert_eq!(client.cmd("RESET").text(), "RESET");
    assert_eq!(client.cmd("GET a").error(), "NOAUTH Authentication required.");
}

fn proxy_metric(client: &mut Raw, name: &str) -> u64 {
    let text = client.cmd("INFO slotway").text();
    let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    row.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn nobody_sees_clients_of_another_cluster() {
    let Both { proxy, cluster: _cluster, alone: _alone } = start();
    let (mut web, mut jobs) = (logged_in(&proxy, "web"), logged_in(&proxy, "jobs"));
    let id = web.cmd("CLIENT ID").int();
    assert!(web.cmd("CLIENT LIST").text().contains(&format!("id={id} ")));
    assert!(!jobs.cmd("CLIENT LIST").text().contains(&format!("id={id} ")));
    assert_eq!(jobs.cmd(&format!("CLIENT KILL ID {id}")).int(), 0);
    let mut monitor = logged_in(&proxy, "jobs");
    assert_eq!(monitor.cmd("MONITOR").text(), "OK");
    web.cmd("SET canary 1");
    jobs.cmd("SET own 1");
    assert!(monitor.read().text().contains("\"own\""));
    assert!(monitor.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn a_cluster_that_is_down_is_felt_by_its_own_tenants_only() {
    let mut both = start_with_admin();
    let (Both { alone, proxy, .. }, admin) = (&mut both.0, &both.1);
    let (mut web, mut jobs) = (logged_in(proxy, "web"), logged_in(proxy, "jobs"));
    assert_eq!(jobs.cmd("SET a 1").text(), "OK");
    alone.kill();
    // Meanwhile the other answers at once, on the same threads, also while requests wait for the one that is gone.
    jobs.send_line("GET a");
    for round in 0..100 {
        assert_eq!(web.cmd(&format!("SET k{round} 1")).text(), "OK");
    }
    assert!(jobs.read().is_error());
    let (status, ready) = page(admin, "/ready");
    assert_eq!(status, 200, "{ready}");
    alone.restart();
    eventually("the cluster is found again", PATIENCE, || (!jobs.cmd("GET a").is_error()).then_some(()));
}

fn start_with_admin() -> (Both, Port) {
    let (cluster, alone, admin) = (Cluster::start(), Server::start(), Port::lease());
    let proxy = Options::cluster(&cluster.urls())
        .config(&tenants(&alone.addr()))
        .flag("--admin", &format!("127.0.0.1:{}", admin.number()))
        .start();
    (Both { cluster, alone, proxy }, admin)
}

#[test]
fn a_start_waits_for_no_cluster_and_readiness_tells_of_each() {
    let (alone, nobody, admin) = (Server::start(), Port::lease(), Port::lease());
    // The default cluster is not there.
    let proxy = Options::cluster(&[format!("redis://127.0.0.1:{}", nobody.number())])
        .config(&tenants(&alone.addr()))
        .flag("--admin", &format!("127.0.0.1:{}", admin.number()))
        .eager()
        .start();
    let mut jobs = logged_in(&proxy, "jobs");
    assert_eq!(jobs.cmd("SET a 1").text(), "OK");
    assert!(logged_in(&proxy, "web").cmd("DBSIZE").error().starts_with("LOADING"));
    let ready = eventually("it is ready", PATIENCE, || {
        let (status, body) = page(&admin, "/ready");
        (status == 200).then_some(body)
    });
    assert_eq!(
        ready,
        "ready: 1 of 2 clusters\ndefault: no backend has answered yet\nalone: 1 shards, every slot served\n"
    );
    assert_eq!(page(&admin, "/ready/default").0, 503);
    assert_eq!(page(&admin, "/ready/alone").0, 200);
    assert_eq!(page(&admin, "/ready/other").0, 404);
    let (_, metrics) = page(&admin, "/metrics");
    for line in [
        "slotway_shards{cluster=\"default\"} 0",
        "slotway_shards{cluster=\"alone\"} 1",
        "slotway_clients{worker=\"0\",cluster=\"alone\"} ",
        "slotway_backend_requests_total{worker=\"1\",cluster=\"default\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[test]
fn clients_that_go_back_and_forth_leave_nothing_and_the_end_waits_for_them() {
    let Both { mut proxy, cluster: _cluster, alone: _alone } = start();
    for _ in 0..50 {
        let mut client = logged_in(&proxy, "web");
        client.cmd("AUTH jobs secret");
        client.send_line("AUTH web secret");
    }
    let mut web = logged_in(&proxy, "web");
    eventually("they have left", PATIENCE, || (proxy_metric(&mut web, "clients") == 1).then_some(()));
    let mut jobs = logged_in(&proxy, "jobs");
    assert_eq!(proxy_metric(&mut jobs, "clients"), 1);
    // Its answer comes after the end was asked for, at a cluster that it reached by then.
    jobs.send_line("BLPOP queue 1");
    eventually("it waits", PATIENCE, || (proxy_metric(&mut web, "clients") == 1).then_some(()));
    proxy.ask_to_end();
    assert_eq!(jobs.read_to_close(), b"");
    assert!(proxy.wait(PATIENCE).success());
}

#[test]
fn an_idle_cluster_costs_little_memory() {
    let alone = Server::start();
    let resident = |clusters: usize| {
        let mut config = tenants(&alone.addr());
        for number in 0..clusters {
            config.push_str(&format!("[clusters.c{number}]\nstandalone = \"redis://{}\"\n", alone.addr()));
        }
        let url = format!("redis://{}", alone.addr());
        let proxy = Options::standalone(&url).config(&config).start();
        let mut web = logged_in(&proxy, "web");
        web.cmd("SET a 1");
        let text = web.cmd("INFO memory").text();
        let row = |line: &str| line.strip_prefix("used_memory:")?.trim().parse::<usize>().ok();
        text.lines().find_map(row).expect("used_memory")
    };
    let (few, many) = (resident(0), resident(40));
    let each = many.saturating_sub(few) / 40;
    assert!(each < 128 * 1024, "{each} bytes for an idle cluster on two threads");
    println!("{each} bytes for an idle cluster on two threads");
}
