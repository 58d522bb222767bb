//! Settings that change while the proxy runs: what is applied, who stays connected, and that nothing invalid does
//! anything.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use slotway_tests::page::page;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(10);

// SHA-256 of "other".
const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

fn tenant(name: &str, more: &str, users: &[(&str, &str)]) -> String {
    let user = |(name, digest): &(&str, &str)| {
        format!("[[tenants.users]]\nname = \"{name}\"\npasswords_sha256 = [\"{digest}\"]\n")
    };
    let users: String = users.iter().map(user).collect();
    format!("[[tenants]]\nname = \"{name}\"\n{more}\n{users}")
}

/// Ann of the shop, and Wim of the web.
fn two_tenants() -> String {
    tenant("shop", "", &[("ann", SECRET)]) + &tenant("web", "", &[("wim", SECRET)])
}

fn start(config: &str) -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).config(config).start();
    (server, proxy)
}

fn logged_in(proxy: &Proxy, user: &str) -> Raw {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("AUTH {user} secret")).text(), "OK");
    client
}

/// What INFO says to `client`.
fn info(client: &mut Raw, name: &str) -> u64 {
    let text = client.cmd("INFO server clients slotway").text();
    let mut rows = text.lines().filter_map(|line| line.trim().split_once(':'));
    // The proxy's own numbers come last.
    let found = rows.rfind(|(row, _)| *row == name).and_then(|(_, value)| value.parse().ok());
    found.unwrap_or_else(|| panic!("no number {name} in {text}"))
}

/// Waits until `client`'s worker is at this generation.
#[track_caller]
fn wait_for_generation(client: &mut Raw, generation: u64) {
    let what = format!("generation {generation}");
    eventually(&what, SOON, || (info(client, "slotway_config_generation") == generation).then_some(()));
}

/// Replaces the file, tells the proxy, and waits for this generation.
#[track_caller]
fn reload(proxy: &Proxy, client: &mut Raw, config: &str, generation: u64) {
    proxy.rewrite(config);
    proxy.hang_up();
    wait_for_generation(client, generation);
}

/// Whether `/metrics` has this number of the control thread.
fn has_metric(admin: &str, name: &str, value: u64) -> bool {
    let page = page(admin, "/metrics");
    let mut rows = page.lines().filter(|row| row.starts_with(name) && row.contains("control"));
    rows.any(|row| row.ends_with(&format!(" {value}")))
}

#[track_caller]
fn assert_no_secret(proxy: &Proxy, secrets: &[&str]) {
    let log = proxy.process().log();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn users_and_rules_change_under_clients_that_stay() {
    let (_server, proxy) = start(&two_tenants());
    let mut ann = logged_in(&proxy, "ann");
    ann.cmd("CLIENT SETNAME mine");
    assert_eq!(ann.cmd("SET a 1").text(), "OK");
    assert_eq!(info(&mut ann, "slotway_config_generation"), 1);
    let users = [("ann", SECRET), ("bob", OTHER)];
    let next = tenant("shop", "commands = \"+@all -set\"", &users) + &tenant("web", "", &[("wim", SECRET)]);
    // By the file alone.
    proxy.rewrite(&next);
    wait_for_generation(&mut ann, 2);
    assert!(ann.cmd("SET a 2").error().starts_with("NOPERM"));
    assert_eq!(ann.cmd("GET a").text(), "1");
    assert_eq!(ann.cmd("CLIENT GETNAME").text(), "mine");
    assert_eq!(logged_in(&proxy, "wim").cmd("SET a 3").text(), "OK");
    let mut bob = proxy.client();
    assert_eq!(bob.cmd("AUTH bob other").text(), "OK");
    let log = proxy.process().log();
    assert!(log.contains("settings applied"), "{log}");
    assert!(log.contains("tenant shop (users, commands)") && !log.contains("tenant web"), "{log}");
    assert_no_secret(&proxy, &[SECRET, OTHER]);
}

#[test]
fn what_was_queued_by_rules_that_are_gone_is_not_run() {
    let (_server, proxy) = start(&two_tenants());
    let (mut ann, mut wim) = (logged_in(&proxy, "ann"), logged_in(&proxy, "wim"));
    for client in [&mut ann, &mut wim] {
        client.cmd("MULTI");
        assert_eq!(client.cmd("APPEND a x").text(), "QUEUED");
    }
    let next = tenant("shop", "commands = \"+@all -append\"", &[("ann", SECRET)])
        + &tenant("web", "commands = \"+@all\"", &[("wim", SECRET)]);
    let mut other = logged_in(&proxy, "wim");
    reload(&proxy, &mut other, &next, 2);
    eventually("the rules", SOON, || logged_in(&proxy, "ann").cmd("APPEND b x").is_error().then_some(()));
    thread::sleep(Duration::from_millis(100));
    assert!(ann.cmd("EXEC").error().starts_with("EXECABORT"));
    assert_eq!(wim.cmd("EXEC").items()[0].int(), 1, "it may still say all that it queued");
}

#[test]
fn what_is_not_valid_changes_nothing_and_is_told() {
    let admin = Port::lease();
    let admin = format!("127.0.0.1:{}", admin.number());
    let server = Server::start();
    let good = format!("admin = \"{admin}\"\n") + &two_tenants();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).config(&good).start();
    let mut ann = logged_in(&proxy, "ann");
    assert!(
        page(&admin, "/config").contains("\ngeneration: 1\n")
            || page(&admin, "/config").contains("generation: 1\n")
    );
    let bad = format!(
        "{good}[[tenants.users]]\nname = \"eve\"\npasswords_sha256 = [\"hunter2\"]\n[clients]\nmax_args = 0\nbacklock = 3\n"
    );
    proxy.rewrite(&bad);
    eventually("the failure", SOON, || (info(&mut ann, "config_reload_failures") == 1).then_some(()));
    let told = page(&admin, "/config");
    for wanted in [
        "generation: 1\n",
        "last_error: the settings in force stay",
        "tenants[1].users[1].passwords_sha256[0]",
        "slotway.toml:18: clients.max_args is 0",
        "slotway.toml:19: unknown key clients.backlock",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in {told}");
        let logged = wanted.starts_with("slotway.toml").then_some(wanted);
        assert!(logged.is_none_or(|line| proxy.process().log().contains(line)), "{wanted}");
    }
    assert!(has_metric(&admin, "slotway_config_reload_failures_total", 1));
    assert!(page(&admin, "/ready").contains("200 OK"), "it serves on");
    assert_eq!(ann.cmd("SET a 1").text(), "OK");
    assert!(proxy.client().cmd("AUTH eve hunter2").error().starts_with("WRONGPASS"));
    for page in [told, page(&admin, "/metrics"), proxy.process().log()] {
        assert!(!page.contains("hunter2") && !page.contains(SECRET), "{page}");
    }
    // And from there on to what is valid again.
    reload(&proxy, &mut ann, &format!("{good}[clients]\nmax_args = 100\n"), 2);
    let told = page(&admin, "/config");
    assert!(told.contains("generation: 2\n") && told.contains("last_error: none"), "{told}");
    assert!(has_metric(&admin, "slotway_config_generation", 2));
}

#[test]
fn a_port_comes_and_goes_and_who_is_connected_stays() {
    let server = Server::start();
    let url = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&url).config("").listen_by_file().start();
    let (second, admin, taken) = (Port::lease(), Port::lease(), Port::lease());
    let (second, admin) = (second.number(), admin.number());
    let mut first = proxy.client();
    let with_second = proxy.listen_line().replace(']', &format!(", \"127.0.0.1:{second}\"]"));
    reload(&proxy, &mut first, &format!("{with_second}admin = \"127.0.0.1:{admin}\"\n"), 2);
    let mut other = Raw::connect(&format!("127.0.0.1:{second}"));
    assert_eq!(other.cmd("SET a 1").text(), "OK");
    assert!(page(&format!("127.0.0.1:{admin}"), "/ready").contains("200 OK"));
    // One that can't be bound: none is, and the rest is not applied either.
    let _holder = std::net::TcpListener::bind(("127.0.0.1", taken.number())).expect("a free port");
    let with_taken = with_second.replace(']', &format!(", \"127.0.0.1:{}\"]", taken.number()));
    proxy.rewrite(&format!("{with_taken}admin = \"127.0.0.1:{admin}\"\nclients.max_clients = 77\n"));
    proxy.hang_up();
    eventually("the failure", SOON, || (info(&mut other, "config_reload_failures") >= 1).then_some(()));
    assert_eq!(info(&mut other, "maxclients"), 10_000);
    assert!(page(&format!("127.0.0.1:{admin}"), "/config").contains("cannot listen on"));
    // Gone again, with its clients left in peace.
    reload(&proxy, &mut first, &proxy.listen_line(), 3);
    assert_eq!(other.cmd("GET a").text(), "1");
    eventually("closed ports", SOON, || {
        let refused = |port| TcpStream::connect(("127.0.0.1", port)).is_err();
        (refused(second) && refused(admin)).then_some(())
    });
    assert_eq!(proxy.client().cmd("GET a").text(), "1");
}

#[test]
fn who_may_not_stay_is_closed_behind_his_replies_and_nobody_else() {
    let (server, proxy) = start(&two_tenants());
    let clients = |user| -> Vec<Raw> { (0..5).map(|_| logged_in(&proxy, user)).collect() };
    let (mut ann, mut wim) = (clients("ann"), clients("wim"));
    for them in [&mut ann, &mut wim] {
        let [idle, blocked, listens, queues, asks] = &mut them[..] else { panic!("five") };
        assert_eq!(idle.cmd("PING").text(), "PONG");
        blocked.send(&["BLPOP", "nothing", "0"]);
        assert_eq!(listens.cmd("SUBSCRIBE news").items()[0].text(), "subscribe");
        queues.cmd("MULTI");
        queues.cmd("SET queued 1");
        assert_eq!(asks.cmd("SET asked yes").text(), "OK");
    }
    let mut watcher = logged_in(&proxy, "wim");
    eventually("both blocked", SOON, || (info(&mut watcher, "blocked_clients") == 2).then_some(()));
    // What was asked before is answered, although the answer comes after.
    server.freeze();
    ann[4].send(&["GET", "asked"]);
    wim[4].send(&["GET", "asked"]);
    thread::sleep(Duration::from_millis(200));
    reload(&proxy, &mut watcher, &tenant("web", "", &[("wim", SECRET)]), 2);
    thread::sleep(Duration::from_millis(200));
    // And what comes later is not.
    ann[4].send(&["SET", "asked", "no"]);
    thread::sleep(Duration::from_millis(100));
    server.thaw();
    assert_eq!(ann[4].read_to_close(), b"$3\r\nyes\r\n");
    for client in &mut ann[..4] {
        assert_eq!(client.read_to_close(), b"", "closed without a word");
    }
    assert_eq!(wim[4].read().text(), "yes");
    assert_eq!(wim[4].cmd("GET asked").text(), "yes");
    assert_eq!(wim[0].cmd("PING").text(), "PONG");
    // The element is for who still waits.
    assert_eq!(watcher.cmd("RPUSH nothing one").int(), 1);
    assert_eq!(wim[1].read().items()[1].text(), "one");
    assert_eq!(watcher.cmd("PUBLISH news hello").int(), 1);
    assert_eq!(wim[2].read().items()[2].text(), "hello");
    assert_eq!(wim[3].cmd("EXEC").items()[0].text(), "OK");
    assert_eq!(info(&mut watcher, "clients_revoked"), 5);
    let log = proxy.process().log();
    assert!(log.contains("the user was removed"), "{log}");
    assert!(proxy.client().cmd("AUTH ann secret").error().starts_with("WRONGPASS"));
}

#[test]
fn who_would_have_other_keys_is_closed() {
    let (_server, proxy) = start(&two_tenants());
    let (mut ann, mut wim) = (logged_in(&proxy, "ann"), logged_in(&proxy, "wim"));
    assert_eq!(ann.cmd("SET a shop").text(), "OK");
    let apart = tenant("shop", "namespace = \"k3m9x2ab\"", &[("ann", SECRET)])
        + &tenant("web", "", &[("wim", SECRET)]);
    reload(&proxy, &mut wim, &apart, 2);
    assert_eq!(ann.read_to_close(), b"");
    assert_eq!(wim.cmd("GET a").text(), "shop");
    let mut ann = logged_in(&proxy, "ann");
    assert_eq!(ann.cmd("GET a"), Value::Nil);
    // The user goes to the other tenant.
    let moved =
        tenant("shop", "", &[("bob", SECRET)]) + &tenant("web", "", &[("wim", SECRET), ("ann", SECRET)]);
    reload(&proxy, &mut wim, &moved, 3);
    assert_eq!(ann.read_to_close(), b"");
    let log = proxy.process().log();
    assert!(log.contains("the tenant's keys stand elsewhere"), "{log}");
    assert!(log.contains("the user is another tenant's"), "{log}");
}

#[test]
fn new_limits_of_a_tenant_hold_for_the_clients_that_it_has() {
    let limits = |clients: u32, rate: &str| {
        tenant("shop", &format!("[tenants.limits]\nclients = {clients}\n{rate}"), &[("ann", SECRET)])
            + &tenant("web", "", &[("wim", SECRET)])
    };
    let (_server, proxy) = start(&two_tenants());
    let mut wim = logged_in(&proxy, "wim");
    let mut clients: Vec<Raw> = (0..3).map(|_| logged_in(&proxy, "ann")).collect();
    clients[2].send(&["BLPOP", "list", "0"]);
    eventually("blocked", SOON, || (info(&mut wim, "blocked_clients") == 1).then_some(()));
    // More are there than may be: they stay, and nobody else is let in.
    reload(
        &proxy,
        &mut wim,
        &limits(2, "requests_per_second = 5\nrequests_per_second_action = \"refuse\"\n"),
        2,
    );
    eventually("a limit of clients", SOON, || {
        proxy.client().cmd("AUTH ann secret").error().contains("max number of clients").then_some(())
    });
    let refused = |client: &mut Raw| (0..30).filter(|_| client.cmd("GET a").is_error()).count();
    assert!(refused(&mut clients[0]) > 0 && refused(&mut wim) == 0, "the tenant's own limit");
    // And none again, which nobody remembers anything of.
    reload(&proxy, &mut wim, &two_tenants(), 3);
    eventually("no limit", SOON, || (refused(&mut clients[0]) == 0).then_some(()));
    assert_eq!(refused(&mut clients[1]), 0);
    wim.cmd("RPUSH list x");
    assert_eq!(clients[2].read().items()[1].text(), "x");
    drop(clients);
    reload(&proxy, &mut wim, &limits(2, ""), 4);
    let mut two = (logged_in(&proxy, "ann"), logged_in(&proxy, "ann"));
    assert_eq!((two.0.cmd("PING").text(), two.1.cmd("PING").text()), ("PONG".to_owned(), "PONG".to_owned()));
}

#[test]
fn who_never_had_to_log_in_has_to_from_then_on() {
    let (_server, proxy) = start("");
    let (mut a, mut b) = (proxy.client(), proxy.client());
    assert_eq!(a.cmd("SET a 1").text(), "OK");
    assert_eq!(b.cmd("PING").text(), "PONG");
    let users = format!("[[users]]\npasswords_sha256 = [\"{SECRET}\"]\n");
    proxy.rewrite(&users);
    proxy.hang_up();
    assert_eq!((a.read_to_close(), b.read_to_close()), (Vec::new(), Vec::new()));
    let mut waits = proxy.client();
    assert_eq!(waits.cmd("GET a").error(), "NOAUTH Authentication required.");
    let mut in_time = logged_in(&proxy, "default");
    // And nobody has to any more, not even who was asked to.
    reload(&proxy, &mut in_time, "", 3);
    eventually("let in", SOON, || (!waits.cmd("GET a").is_error()).then_some(()));
}

#[test]
fn a_password_is_rotated_by_its_file() {
    let server = Server::start();
    let proxy_dir = slotway_tests::dir::Dir::new("passwords");
    let dir = proxy_dir.path();
    // As Kubernetes mounts a secret: the file is a link to what a link is swapped for.
    let version = |name: &str, text: &str| {
        fs::create_dir(dir.join(name)).expect("a directory");
        fs::write(dir.join(name).join("ann"), text).expect("a file");
        let _ = fs::remove_file(dir.join("..new"));
        symlink(name, dir.join("..new")).expect("a link");
        fs::rename(dir.join("..new"), dir.join("..data")).expect("a link");
    };
    version("1", "secret\n");
    symlink("..data/ann", dir.join("ann")).expect("a link");
    let config = format!(
        "[[users]]\nname = \"ann\"\npasswords_file = \"{}\"\n[[users]]\nname = \"ops\"\npasswords_sha256 = [\"{SECRET}\"]\n",
        dir.join("ann").display()
    );
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).config(&config).start();
    let (mut old, mut ops) = (logged_in(&proxy, "ann"), logged_in(&proxy, "ops"));
    version("2", "topsecretnew\nsecret\n");
    wait_for_generation(&mut ops, 2);
    let mut new = proxy.client();
    assert_eq!(new.cmd("AUTH ann topsecretnew").text(), "OK");
    assert_eq!(old.cmd("PING").text(), "PONG", "both hold");
    version("3", "topsecretnew\n");
    wait_for_generation(&mut ops, 3);
    assert_eq!(old.read_to_close(), b"", "what let it in is gone");
    assert_eq!(new.cmd("PING").text(), "PONG");
    assert!(proxy.client().cmd("AUTH ann secret").error().starts_with("WRONGPASS"));
    // A file that is not there: nothing changes, until it is.
    fs::remove_file(dir.join("..data")).expect("a link");
    eventually("the failure", SOON, || (info(&mut ops, "config_reload_failures") == 1).then_some(()));
    assert_eq!(new.cmd("PING").text(), "PONG");
    version("4", "topsecretnew\nthird\n");
    wait_for_generation(&mut ops, 4);
    assert_eq!(proxy.client().cmd("AUTH ann third").text(), "OK");
    assert_no_secret(&proxy, &["topsecretnew", "third", SECRET]);
}

#[test]
fn the_backends_password_is_rotated_without_a_lost_connection() {
    let server = Server::with(Kind::usual(), &[("requirepass", "backend-one")]);
    let config = |password: &str| {
        format!("cluster.standalone = \"redis://{}\"\ncluster.password = \"{password}\"\n", server.addr())
    };
    let proxy = Options::default().config(&config("backend-one")).start();
    let mut client = proxy.client();
    assert_eq!(client.cmd("SET a 1").text(), "OK");
    let mut admin = server.client();
    admin.cmd("AUTH backend-one");
    assert_eq!(admin.cmd("CONFIG SET requirepass backend-two").text(), "OK");
    reload(&proxy, &mut client, &config("backend-two"), 2);
    assert_eq!(client.cmd("GET a").text(), "1", "over the link that there was");
    // One that is opened now.
    let mut blocked = proxy.client();
    blocked.send(&["BLPOP", "list", "0"]);
    eventually("a blocked client", SOON, || (info(&mut client, "blocked_clients") == 1).then_some(()));
    client.cmd("RPUSH list x");
    assert_eq!(blocked.read().items()[1].text(), "x");
    assert_no_secret(&proxy, &["backend-one", "backend-two"]);
}

#[test]
fn what_needs_a_restart_is_told_and_the_rest_is_applied() {
    let (_server, proxy) = start("dns.timeout = \"2s\"\n");
    let mut client = proxy.client();
    reload(
        &proxy,
        &mut client,
        "dns.timeout = \"3s\"\nclients.max_clients = 33\nlog.filter = \"debug\"\n",
        2,
    );
    assert_eq!(info(&mut client, "maxclients"), 33);
    let log = proxy.process().log();
    assert!(log.contains("needs a restart") && log.contains("keys=\"dns.timeout\""), "{log}");
    assert!(log.contains("clients.max_clients, log.filter"), "{log}");
    drop(proxy.client());
    eventually("a log of more", SOON, || proxy.process().log().contains("client connected").then_some(()));
    // The same again: nothing is applied twice.
    proxy.hang_up();
    eventually("the line", SOON, || proxy.process().log().contains("nothing to apply").then_some(()));
    assert_eq!(info(&mut client, "slotway_config_generation"), 2);
}

#[test]
fn limits_of_clients_hold_from_then_on() {
    let (_server, proxy) = start("");
    let (mut a, mut b) = (proxy.client(), proxy.client());
    reload(
        &proxy,
        &mut a,
        "clients.max_clients = 2\nclients.max_bulk = \"1KiB\"\nclients.max_request = \"16KiB\"\n",
        2,
    );
    assert!(proxy.client().read_frame().starts_with(b"-ERR max number of clients reached"));
    assert_eq!(b.cmd("PING").text(), "PONG");
    assert!(b.call(&["SET", "a", &"x".repeat(2_000)]).error().contains("invalid bulk length"));
    reload(&proxy, &mut a, "clients.idle_timeout = \"1s\"\n", 3);
    let mut idle = proxy.client();
    assert_eq!(idle.cmd("PING").text(), "PONG");
    assert_eq!(idle.read_to_close(), b"");
}

#[test]
fn reload_can_be_left_to_the_signal_or_turned_off() {
    let (_server, proxy) = start("reload = \"signal\"\n");
    let mut client = proxy.client();
    proxy.rewrite("reload = \"signal\"\nclients.max_clients = 50\n");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(info(&mut client, "slotway_config_generation"), 1);
    proxy.hang_up();
    wait_for_generation(&mut client, 2);
    reload(&proxy, &mut client, "reload = \"off\"\n", 3);
    proxy.rewrite("clients.max_clients = 50\n");
    proxy.hang_up();
    eventually("the line", SOON, || proxy.process().log().contains("reload is off").then_some(()));
    assert_eq!(info(&mut client, "slotway_config_generation"), 3);
}

/// What one kind of client does until it is told to stop; each answer that is not what it has to be is counted.
fn work(mut client: Raw, kind: usize, number: usize, stop: &AtomicBool) -> u64 {
    let mut rounds = 0;
    let key = format!("key:{number}");
    while !stop.load(Ordering::Relaxed) {
        match kind {
            0 => {
                for _ in 0..50 {
                    client.send(&["INCR", &key]);
                }
                let replies = client.read_many(50);
                for (place, reply) in replies.iter().enumerate() {
                    assert_eq!(*reply, Value::Int((rounds * 50 + place as u64 + 1) as i64));
                }
            }
            1 => {
                assert_eq!(client.cmd("MULTI").text(), "OK");
                assert_eq!(client.call(&["SET", &key, "x"]).text(), "QUEUED");
                assert_eq!(client.call(&["GET", &key]).text(), "QUEUED");
                assert_eq!(client.cmd("EXEC").items()[1].text(), "x");
            }
            2 => {
                client.send(&["BLPOP", &key, "0.05"]);
                assert_eq!(client.read(), Value::Nil);
            }
            _ => {
                assert_eq!(client.call(&["SUBSCRIBE", &key]).items()[0].text(), "subscribe");
                assert_eq!(client.call(&["UNSUBSCRIBE", &key]).items()[0].text(), "unsubscribe");
                assert_eq!(client.call(&["SET", &key, "x", "PX", "1000"]).text(), "OK");
            }
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn a_hundred_reloads_under_load_cost_no_error() {
    let (_server, proxy) = start(&two_tenants());
    let mut watcher = logged_in(&proxy, "wim");
    let mut listener = logged_in(&proxy, "wim");
    assert_eq!(listener.cmd("SUBSCRIBE steady").items()[0].text(), "subscribe");
    let mut waiting = logged_in(&proxy, "ann");
    waiting.send(&["BLPOP", "steady", "0"]);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let client = logged_in(&proxy, if number % 2 == 0 { "ann" } else { "wim" });
            let (stop, done) = (stop.clone(), done.clone());
            thread::spawn(move || done.fetch_add(work(client, number / 2, number, &stop), Ordering::Relaxed))
        })
        .collect();
    for generation in 2..=101 {
        let rules = ["commands = \"+@all -flushall\"", "commands = \"+@all\"", ""][generation as usize % 3];
        let users = [("ann", SECRET), ("bob", OTHER)];
        let config = format!(
            "clients.max_pending = {generation}\ncluster.command_timeout = \"{}s\"\n",
            5 + generation % 2
        ) + &tenant("shop", rules, &users[..1 + generation as usize % 2])
            + &tenant("web", "", &[("wim", SECRET)]);
        reload(&proxy, &mut watcher, &config, generation);
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("no error of a client");
    }
    assert!(done.load(Ordering::Relaxed) > 200, "there was load");
    assert_eq!(watcher.cmd("PUBLISH steady hello").int(), 1);
    assert_eq!(listener.read().items()[2].text(), "hello");
    watcher.cmd("RPUSH steady x");
    assert_eq!(waiting.read().items()[1].text(), "x");
    assert_eq!(info(&mut watcher, "clients_revoked"), 0);
    assert_eq!(info(&mut watcher, "config_reload_failures"), 0);
    assert_no_secret(&proxy, &[SECRET, OTHER]);
}

#[test]
fn settings_from_a_pipe_stay_as_they_are() {
    let server = Server::start();
    let url = format!("redis://{}", server.addr());
    let dir = slotway_tests::dir::Dir::new("pipe");
    let pipe = dir.path().join("settings");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let to = pipe.clone();
    let writer = thread::spawn(move || fs::write(to, "clients.max_clients = 44\n").expect("a reader"));
    let proxy = Options::standalone(&url).flag("--config", &pipe.display().to_string()).start();
    writer.join().expect("it was read");
    let mut client = proxy.client();
    proxy.hang_up();
    eventually("the failure", SOON, || (info(&mut client, "config_reload_failures") == 1).then_some(()));
    assert_eq!((info(&mut client, "maxclients"), info(&mut client, "slotway_config_generation")), (44, 1));
    assert!(proxy.process().log().contains("is no regular file"));
}
