//! TLS: clients of both versions beside plain ones, certificates that change under load, and what is no TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slotway_tests::certs::{Authority, Issued, Who};
use slotway_tests::cluster::Cluster;
use slotway_tests::installed::{installed, python};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, Proxy, answered};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::tls::{TlsOptions, TlsRaw};
use slotway_tests::value::Value;

/// How long the proxy may take to see a changed file: it looks every two seconds.
const SEEN: Duration = Duration::from_secs(20);

/// A proxy with a plain and a TLS listener.
struct Entry {
    proxy: Proxy,
    port: Port,
    authority: Authority,
    certificate: Issued,
}

impl Entry {
    /// In front of what `options` says; `more` is added to the section `[tls]`.
    fn start(options: Options, more: &str) -> Self {
        let authority = Authority::new("tests");
        let certificate = authority.server("server", &["localhost", "127.0.0.1"]);
        Self::with(options, authority, certificate, more)
    }

    fn with(options: Options, authority: Authority, certificate: Issued, more: &str) -> Self {
        let port = Port::lease();
        let section = format!(
            "[tls]\nlisten = [\"127.0.0.1:{}\"]\ncertificate = {:?}\nkey = {:?}\n{more}",
            port.number(),
            certificate.certificate,
            certificate.key
        );
        Self { proxy: options.config(&section).start(), port, authority, certificate }
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    fn options(&self) -> TlsOptions {
        TlsOptions::new(&self.authority)
    }

    fn client(&self) -> TlsRaw {
        self.options().connect(&self.addr())
    }
}

fn over_one_server() -> (Server, Entry) {
    let server = Server::start();
    let entry = Entry::start(Options::standalone(&format!("redis://{}", server.addr())), "");
    (server, entry)
}

#[test]
fn redis_py_works_over_tls_with_a_plain_client_beside_it() {
    let (Some(python), Some(script)) = (python(), installed("tests/clients/python/tls.py", "the script"))
    else {
        return;
    };
    let cluster = Cluster::start();
    drive(&python, &script, &Entry::start(Options::cluster(&cluster.urls()), ""));
}

#[test]
fn redis_py_works_over_tls_on_both_sides() {
    let (Some(python), Some(script)) = (python(), installed("tests/clients/python/tls.py", "the script"))
    else {
        return;
    };
    for kind in [Kind::Redis, Kind::Valkey] {
        if !kind.is_installed() || !kind.has_tls() {
            continue;
        }
        let authority = Authority::new("backends");
        let cluster = Cluster::over_tls(kind, 2, 1, &authority);
        let section = backends(&authority);
        drive(&python, &script, &Entry::start(Options::cluster(&cluster.tls_urls()), &section));
        // The watch's connections, and those for reads.
        let reads = Options::cluster(&cluster.tls_urls()).set(&["cluster.read_from=replica"]);
        let proxy = reads.config(&section).start();
        eventually("a replica is read from", SEEN, || (proxy.metric("replicas_usable") == 1).then_some(()));
        let key = cluster.key_on(0, "r");
        assert_eq!(proxy.client().cmd(&format!("SET {key} v")).text(), "OK");
        eventually("it is read", SEEN, || {
            let is_there = proxy.client().cmd(&format!("GET {key}")) == Value::Bulk(b"v".to_vec());
            (is_there && proxy.metric("reads_to_replicas") > 0).then_some(())
        });
    }
}

/// The section `[cluster.tls]` for nodes of this authority, which want a certificate, too.
fn backends(authority: &Authority) -> String {
    let shown = authority.client("proxy", Who { common_name: "proxy", ..Who::default() });
    format!(
        "[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        authority.file, shown.certificate, shown.key
    )
}

#[test]
fn a_node_over_tls_that_is_killed_is_found_again() {
    if !Kind::Redis.is_installed() || !Kind::Redis.has_tls() {
        return;
    }
    let authority = Authority::new("backends");
    let mut cluster = Cluster::over_tls(Kind::Redis, 2, 0, &authority);
    let proxy = Options::cluster(&cluster.tls_urls()).config(&backends(&authority)).start();
    let (dies, stays) = (cluster.key_on(0, "k"), cluster.key_on(1, "k"));
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("SET {dies} v")).text(), "OK");
    let mut blocked = proxy.client();
    blocked.send_line(&format!("BLPOP {{{dies}}}q 0"));
    eventually("it waits", SEEN, || (proxy.metric("blocked_clients") == 1).then_some(()));
    cluster.node_mut(0).kill();
    assert_eq!(client.cmd(&format!("SET {stays} v")).text(), "OK", "the other shard goes on");
    assert!(blocked.read().is_error());
    cluster.node_mut(0).restart();
    answered(&mut client, &format!("SET {dies} w"), SEEN);
    assert_eq!(client.cmd(&format!("GET {dies}")).text(), "w");
}

#[test]
fn backends_are_believed_by_authority_and_name_only() {
    if !Kind::Redis.is_installed() || !Kind::Redis.has_tls() {
        return;
    }
    let authority = Authority::new("backends");
    let certificate = authority.server("server", &["cache.internal"]);
    let port = Port::lease();
    let file = |path: &Path| path.display().to_string();
    let _server = Server::with(
        Kind::Redis,
        &[
            ("tls-port", &port.number().to_string()),
            ("tls-cert-file", &file(&certificate.certificate)),
            ("tls-key-file", &file(&certificate.key)),
            ("tls-ca-cert-file", &file(&authority.file)),
            ("tls-auth-clients", "no"),
        ],
    );
    let url = format!("rediss://127.0.0.1:{}", port.number());
    let with = |authority: &Authority, name: &str| {
        let section = format!("[cluster.tls]\nca = {:?}\nserver_name = {name:?}\n", authority.file);
        let options = Options::standalone(&url).set(&["cluster.command_timeout=1s"]);
        options.config(&section).eager().start()
    };
    let right = with(&authority, "cache.internal");
    let mut client = right.client();
    let value = "v".repeat(3 << 20);
    assert_eq!(client.call(&["SET", "k", &value]).text(), "OK");
    assert_eq!(client.cmd("GET k").text(), value);
    for (authority, name, why) in [
        (&authority, "127.0.0.1", "not valid for name"),
        (&authority, "other.internal", "not valid for name"),
        (&Authority::new("another"), "cache.internal", "UnknownIssuer"),
    ] {
        let wrong = with(authority, name);
        assert!(wrong.client().cmd("GET k").is_error(), "{name}");
        assert!(wrong.process().log_tail().contains(why), "{name}: {}", wrong.process().log_tail());
    }
}

fn drive(python: &Path, script: &Path, entry: &Entry) {
    let (plain, tls) = (entry.proxy.addr(), entry.port.number().to_string());
    let plain = plain.rsplit_once(':').expect("a port").1.to_owned();
    let mut command = Command::new(python);
    let output = command.arg(script).args(["127.0.0.1", &plain, &tls]).arg(&entry.authority.file).output();
    let output = output.expect("python runs");
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    assert_eq!(said.matches(": ok").count(), 12, "{said}");
    eventually("nobody is left", SEEN, || (entry.proxy.metric("tls_clients") == 0).then_some(()));
}

#[test]
fn both_versions_are_spoken_and_one_can_be_left_out() {
    let server = Server::start();
    let url = format!("redis://{}", server.addr());
    let both = Entry::start(Options::standalone(&url), "");
    assert_eq!(both.client().cmd("PING").text(), "PONG");
    assert_eq!(both.options().only_12().connect(&both.addr()).cmd("PING").text(), "PONG");
    let new = Entry::start(Options::standalone(&url), "versions = [\"1.3\"]");
    assert_eq!(new.client().cmd("PING").text(), "PONG");
    let refused = new.options().only_12().try_connect(&new.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("ProtocolVersion")));
    eventually("it is counted", SEEN, || (new.proxy.metric("tls_failed_incompatible") == 1).then_some(()));
    assert_eq!((both.proxy.metric("tls_handshakes"), new.proxy.metric("tls_handshakes")), (2, 1));
}

#[test]
fn who_does_not_believe_the_authority_does_not_connect() {
    let (_server, entry) = over_one_server();
    let refused = TlsOptions::new(&Authority::new("another")).try_connect(&entry.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("UnknownIssuer")));
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_failed_refused") == 1).then_some(()));
    let refused = entry.options().named("elsewhere").try_connect(&entry.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("not valid for name")));
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let server = Server::start();
    let authority = Authority::new("names");
    let default = authority.server("default", &["localhost"]);
    let one = authority.server("one", &["one.example"]);
    let wild = authority.server("wild", &["*.two.example"]);
    let names = [("ONE.example", &one), ("*.two.example", &wild)].map(|(name, pair)| {
        format!(
            "[[tls.names]]\nname = {name:?}\ncertificate = {:?}\nkey = {:?}\n",
            pair.certificate, pair.key
        )
    });
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let entry = Entry::with(options, authority, default, &names.concat());
    let shown = |name: &str| entry.options().named(name).try_connect(&entry.addr());
    for name in ["localhost", "one.example", "a.two.example", "b.two.example"] {
        let mut client = shown(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(client.cmd("PING").text(), "PONG", "{name}");
    }
    // Names that nobody knows are shown the default one.
    assert!(shown("three.example").is_err_and(|error| error.to_string().contains("not valid for name")));
}

fn with_client_auth(auth: &str, believed: &Authority) -> (Server, Entry) {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr())).flag("--log", "debug");
    let more = format!("client_auth = {auth:?}\nclient_ca = {:?}\n", believed.file);
    let entry = Entry::start(options, &more);
    (server, entry)
}

/// Whether a client is served; with TLS 1.3 it hears only then that its certificate was refused.
fn is_served(options: &TlsOptions, addr: &str) -> bool {
    options
        .try_connect(addr)
        .and_then(|mut client| client.try_call(&["PING"]))
        .is_ok_and(|it| it.text() == "PONG")
}

#[test]
fn certificates_of_clients_are_required_or_optional_and_tell_who_they_are() {
    let (believed, other) = (Authority::new("clients"), Authority::new("others"));
    let who = Who {
        common_name: "app one",
        dns: Some("App.example"),
        uri: Some("spiffe://example/app"),
        email: Some("app@example.com"),
    };
    let (right, wrong) = (believed.client("right", who), other.client("wrong", who));
    for (auth, without) in [("required", false), ("optional", true)] {
        let (_server, entry) = with_client_auth(auth, &believed);
        for options in [entry.options(), entry.options().only_12()] {
            let addr = entry.addr();
            assert_eq!(is_served(&options, &addr), without, "{auth}");
            assert!(is_served(&options.clone().showing(&right), &addr), "{auth}");
            assert!(!is_served(&options.showing(&wrong), &addr), "{auth}");
        }
        let told =
            "tls=name=localhost cn=app one dns=app.example uri=spiffe://example/app email=app@example.com";
        assert!(entry.proxy.process().log_tail().contains(told), "{}", entry.proxy.process().log_tail());
        let failed = if without { 2 } else { 4 };
        eventually("they are counted", SEEN, || {
            (entry.proxy.metric("tls_failed_certificate") == failed).then_some(())
        });
    }
}

#[test]
fn a_name_that_is_asked_for_and_a_certificate_lead_to_their_tenants() {
    let believed = Authority::new("clients");
    let server = Server::start();
    let tenants = "[[users]]\nname = \"ops\"\nnopass = true\n\
         [[tenants]]\nname = \"shop\"\ntls_names = [\"shop.example\"]\n\
         users = [{ name = \"default\", nopass = true }]\n\
         [[tenants]]\nname = \"web\"\n\
         users = [{ name = \"web\", tls_subjects = [\"URI:spiffe://example/web\", \"DNS:Web.example\"] }]\n";
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let authority = Authority::new("doors");
    let certificate = authority.server("server", &["localhost", "shop.example"]);
    let more = format!("client_auth = \"optional\"\nclient_ca = {:?}\n{tenants}", believed.file);
    let entry = Entry::with(options, authority, certificate, &more);
    let whoami = |options: TlsOptions| options.connect(&entry.addr()).cmd("ACL WHOAMI");

    // Whoever asks for the tenant's name is its default user, and can't be another tenant's.
    let mut shop = entry.options().named("shop.example").connect(&entry.addr());
    assert_eq!(shop.cmd("ACL WHOAMI").text(), "default");
    assert!(shop.cmd("AUTH ops any").error().starts_with("WRONGPASS"));

    // A certificate is its user without AUTH, by any of its names, also after RESET; without one AUTH is needed where
    // the tenant at the door has no open user: here everybody's door, at which `default` is shop's.
    for who in [
        Who { common_name: "x", uri: Some("spiffe://example/web"), ..Who::default() },
        Who { common_name: "x", dns: Some("web.example"), ..Who::default() },
    ] {
        let issued = believed.client("web", who);
        let mut web = entry.options().showing(&issued).connect(&entry.addr());
        assert_eq!(web.cmd("ACL WHOAMI").text(), "web");
        assert_eq!(web.cmd("AUTH ops any").text(), "OK");
        assert_eq!(web.cmd("ACL WHOAMI").text(), "ops");
        assert_eq!(web.cmd("RESET").text(), "RESET");
        assert_eq!(web.cmd("ACL WHOAMI").text(), "web");
        // At another tenant's door it is nobody's.
        assert_eq!(whoami(entry.options().named("shop.example").showing(&issued)).text(), "default");
    }
    let stranger = believed.client("stranger", Who { common_name: "web", ..Who::default() });
    assert_eq!(whoami(entry.options().showing(&stranger)).text(), "default");
    assert!(entry.client().cmd("AUTH web any").error().starts_with("WRONGPASS"), "it has no password");
}

#[test]
fn an_authority_of_clients_that_is_replaced_is_not_believed_any_more() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (_server, entry) = with_client_auth("required", &old);
    let who = Who { common_name: "app", ..Who::default() };
    let (of_old, of_new) = (old.client("client", who), new.client("client", who));
    let addr = entry.addr();
    let mut stays = entry.options().showing(&of_old).connect(&addr);
    assert_eq!(stays.cmd("PING").text(), "PONG");
    assert!(!is_served(&entry.options().showing(&of_new), &addr));
    fs::copy(&new.file, &old.file).expect("writable");
    eventually("the new one is", SEEN, || is_served(&entry.options().showing(&of_new), &addr).then_some(()));
    assert!(!is_served(&entry.options().showing(&of_old), &addr));
    assert_eq!(stays.cmd("PING").text(), "PONG", "who was there stays");
}

#[test]
fn what_was_pipelined_is_answered_in_order_whatever_records_it_came_in() {
    let (_server, entry) = over_one_server();
    for options in [entry.options(), entry.options().only_12()] {
        let mut client = options.connect(&entry.addr());
        let requests: Vec<u8> = (0..3_000)
            .flat_map(|number| {
                slotway_tests::argv::frame(&["ECHO", &format!("{number}{}", "e".repeat(number))])
            })
            .collect();
        let mut rest = requests.as_slice();
        let mut cut = 1;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            client.send_bytes(now).expect("it reads");
            rest = later;
            cut = (cut * 3) % 40_009;
        }
        for number in 0..3_000 {
            let reply = client.read().expect("a reply").text();
            assert_eq!(reply, format!("{number}{}", "e".repeat(number)));
        }
    }
}

#[test]
fn who_says_that_it_sends_nothing_more_still_gets_its_replies() {
    let (_server, entry) = over_one_server();
    for options in [entry.options(), entry.options().only_12()] {
        let mut client = options.connect(&entry.addr());
        let value = "v".repeat(300_000);
        assert_eq!(client.call(&["SET", "k", &value]).text(), "OK");
        for _ in 0..20 {
            client.send_bytes(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").expect("open");
        }
        client.finish_sending().expect("open");
        for _ in 0..20 {
            assert_eq!(client.read().expect("a reply").text(), value);
        }
        assert!(client.is_closed_politely(), "the end is said by TLS");
    }
}

#[test]
fn a_client_that_does_not_read_is_held_back_and_then_gets_everything() {
    let (_server, entry) = over_one_server();
    let value = "v".repeat(1 << 20);
    assert_eq!(entry.client().call(&["SET", "big", &value]).text(), "OK");
    let mut client = entry.client();
    for _ in 0..64 {
        client.send_bytes(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n").expect("open");
    }
    // So much that it fills all buffers on the way, long before all of it has come.
    thread::sleep(Duration::from_millis(300));
    for number in 0..64 {
        assert_eq!(client.read().expect("a reply").text(), value, "{number}");
    }
}

#[test]
fn a_blocked_client_that_leaves_takes_nothing_more() {
    let (server, entry) = over_one_server();
    for polite in [true, false] {
        let mut client = entry.client();
        client.send_bytes(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n").expect("open");
        eventually("it waits", SEEN, || (entry.proxy.metric("blocked_clients") == 1).then_some(()));
        if polite {
            client.finish_sending().expect("open");
        }
        client.socket().shutdown(Shutdown::Both).expect("open");
        eventually("it has gone", SEEN, || (entry.proxy.metric("blocked_clients") == 0).then_some(()));
        assert_eq!(server.client().cmd("RPUSH q x"), Value::Int(1));
        thread::sleep(Duration::from_millis(100));
        assert_eq!(server.client().cmd("LPOP q").text(), "x");
    }
}

#[test]
fn requests_behind_a_blocked_one_are_not_lost() {
    let (server, entry) = over_one_server();
    let mut client = entry.client();
    client.send_bytes(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n").expect("open");
    eventually("it waits", SEEN, || (entry.proxy.metric("blocked_clients") == 1).then_some(()));
    // In records of their own, which nobody reads while it waits.
    for number in 0..50 {
        client.send_bytes(&slotway_tests::argv::frame(&["ECHO", &number.to_string()])).expect("open");
    }
    assert_eq!(server.client().cmd("RPUSH q x"), Value::Int(1));
    assert_eq!(client.read().expect("a reply").items().len(), 2);
    assert_eq!(client.read().expect("a reply").text(), "PONG");
    for number in 0..50 {
        assert_eq!(client.read().expect("a reply").text(), number.to_string());
    }
}

#[test]
fn what_is_no_tls_ends_its_own_connection_only() {
    let (_server, entry) = over_one_server();
    let mut bystander = entry.client();
    let hello = captured_hello(&entry);
    let mut attacks: Vec<Vec<u8>> = vec![
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"[..], &[0xff; 20_000]].concat(),
        [&b"\x16\x03\x03\x00\x05"[..], &[1, 0xff, 0xff, 0xff, 0]].concat().repeat(1_000),
        b"\x15\x03\x01\x00\x02\x02\x28".to_vec(),
        b"\x17\x03\x03\x00\x20".repeat(100),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut bytes = hello.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(1..=bytes.len()));
        attacks.push(bytes);
    }
    for attack in &attacks {
        let mut raw = TcpStream::connect(entry.addr()).expect("it listens");
        raw.set_read_timeout(Some(SEEN)).expect("a socket");
        let _ = raw.write_all(attack);
        let _ = raw.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        // A reset ends it as well.
        let _ = raw.read_to_end(&mut said);
        assert!(!said.starts_with(b"+"), "{}", attack.escape_ascii());
    }
    assert_eq!(bystander.cmd("PING").text(), "PONG");
    assert_eq!(entry.client().cmd("PING").text(), "PONG");
    eventually("they are counted", SEEN, || (entry.proxy.metric("tls_failed_not_tls") >= 3).then_some(()));
    eventually("none is left", SEEN, || (entry.proxy.metric("tls_handshaking") == 0).then_some(()));
}

/// What a client says first.
fn captured_hello(entry: &Entry) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    let options = entry.options();
    let client = thread::spawn(move || options.try_connect(&addr).is_err());
    let (mut stream, _) = listener.accept().expect("it connects");
    let mut bytes = vec![0; 4_096];
    let count = stream.read(&mut bytes).expect("it speaks first");
    drop(stream);
    assert!(client.join().expect("a thread"));
    bytes.truncate(count);
    bytes
}

#[test]
fn garbage_within_an_open_connection_ends_it_only() {
    let (_server, entry) = over_one_server();
    let mut bystander = entry.client();
    for garbage in [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x17\x03\x03\x00\x30", &[0xff; 200_000]] {
        let mut client = entry.client();
        assert_eq!(client.cmd("PING").text(), "PONG");
        // It may be closed by then.
        let _ = client.socket().write_all(garbage);
        let _ = client.socket().shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = client.socket().read_to_end(&mut rest);
    }
    assert_eq!(bystander.cmd("PING").text(), "PONG");
    eventually("they are gone", SEEN, || (entry.proxy.metric("tls_clients") == 1).then_some(()));
}

#[test]
fn a_slow_handshake_is_closed_in_time() {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let entry = Entry::start(options, "handshake_timeout = \"500ms\"");
    let hello = captured_hello(&entry);
    for bytes in [&hello[..0], &hello[..hello.len() / 2], &hello] {
        let began = Instant::now();
        let mut raw = TcpStream::connect(entry.addr()).expect("it listens");
        raw.set_read_timeout(Some(SEEN)).expect("a socket");
        raw.write_all(bytes).expect("open");
        let mut said = Vec::new();
        let _ = raw.read_to_end(&mut said);
        assert!(began.elapsed() >= Duration::from_millis(450), "closed early: {}", bytes.len());
    }
    eventually("they are counted", SEEN, || (entry.proxy.metric("tls_failed_timeout") == 3).then_some(()));
    assert_eq!(entry.client().cmd("PING").text(), "PONG");
}

#[test]
fn certificates_are_replaced_under_load_without_a_failed_handshake() {
    let (_server, entry) = over_one_server();
    let mut old = entry.client();
    let stop = Arc::new(AtomicBool::new(false));
    let shown = Arc::new(AtomicU64::new(0));
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let (options, addr) = (entry.options(), entry.addr());
            let (stop, shown) = (Arc::clone(&stop), Arc::clone(&shown));
            thread::spawn(move || {
                let mut seen = std::collections::HashSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut client = options.connect(&addr);
                    assert_eq!(client.cmd("PING").text(), "PONG");
                    seen.insert(client.certificate());
                    shown.fetch_max(seen.len() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut replaced = 0;
    while shown.load(Ordering::Relaxed) < 3 || replaced < 30 {
        let next = entry.authority.server(&format!("next{replaced}"), &["localhost", "127.0.0.1"]);
        next.replace(&entry.certificate);
        replaced += 1;
        thread::sleep(Duration::from_millis(150));
        assert!(began.elapsed() < 3 * SEEN, "new certificates are not shown");
    }
    stop.store(true, Ordering::Relaxed);
    loops.into_iter().for_each(|one| one.join().expect("no handshake fails"));
    let now = fs::read_to_string(&entry.certificate.certificate).expect("it is there");
    eventually("the last one is shown", SEEN, || {
        let shown = entry.client().certificate();
        (pem(&now) == shown).then_some(())
    });
    assert_eq!(old.cmd("PING").text(), "PONG", "who was there stays");
    let failed = ["incompatible", "certificate", "refused", "protocol", "lost", "timeout", "not_tls"];
    let failed = failed.map(|kind| entry.proxy.metric(&format!("tls_failed_{kind}")));
    assert_eq!(failed, [0; 7]);
}

fn pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM").to_vec()
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let (_server, entry) = over_one_server();
    let shown = entry.client().certificate();
    fs::write(&entry.certificate.certificate, "nonsense").expect("writable");
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_reload_failures") == 1).then_some(()));
    assert!(entry.proxy.process().log_tail().contains("holds no certificate"));
    assert_eq!(entry.client().certificate(), shown);
    // A key of another certificate.
    let next = entry.authority.server("next", &["localhost"]);
    fs::rename(&next.certificate, &entry.certificate.certificate).expect("one file system");
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_reload_failures") == 2).then_some(()));
    assert!(entry.proxy.process().log_tail().contains("is not the key of"));
    assert_eq!(entry.client().certificate(), shown);
    fs::rename(&next.key, &entry.certificate.key).expect("one file system");
    eventually("the new one is shown", SEEN, || (entry.client().certificate() != shown).then_some(()));
    assert_eq!(entry.proxy.metric("tls_reloads"), 1);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_a_port_is_bound() {
    let authority = Authority::new("tests");
    let (one, other) = (authority.server("one", &["a"]), authority.server("other", &["b"]));
    let empty = authority.path("empty");
    fs::write(&empty, "").expect("writable");
    let cases = [
        (authority.path("absent"), one.key.clone(), "absent: cannot be read: No such file"),
        (empty.clone(), one.key.clone(), "empty: holds no certificate"),
        (one.certificate.clone(), empty, "empty: holds no private key"),
        (one.certificate, other.key, "other.key: is not the key of the first certificate in"),
    ];
    for (certificate, key, told) in cases {
        let file = authority.path("slotway.toml");
        let text = format!(
            "[tls]\nlisten = [\"127.0.0.1:1\"]\ncertificate = {certificate:?}\nkey = {key:?}\n[cluster]\nstandalone = \
             \"redis://127.0.0.1:1\"\n"
        );
        fs::write(&file, text).expect("writable");
        let output = Command::new(slotway_tests::proxy::binary()).arg("check").arg(&file).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn clients_over_tls_are_answered_before_a_graceful_end() {
    let (_server, mut entry) = over_one_server();
    let mut client = entry.client();
    assert_eq!(client.cmd("SET k v").text(), "OK");
    let _shaking = TcpStream::connect(entry.addr()).expect("it listens");
    entry.proxy.ask_to_end();
    assert!(client.is_closed_politely());
    assert!(entry.proxy.wait(SEEN).success());
}

#[test]
fn the_client_limit_counts_those_that_shake_hands() {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr())).set(&["clients.max_clients=2"]);
    let entry = Entry::start(options, "");
    let mut one = entry.client();
    // Whoever asked whether it serves may be there for a moment longer.
    eventually("it is alone", SEEN, || {
        one.cmd("INFO slotway").text().lines().any(|line| line.trim() == "clients:1").then_some(())
    });
    let shaking = TcpStream::connect(entry.addr()).expect("it listens");
    eventually("the limit is reached", SEEN, || {
        one.cmd("INFO slotway").text().contains("tls_handshaking:1").then_some(())
    });
    assert!(entry.options().try_connect(&entry.addr()).is_err());
    let said = Raw::connect(&entry.proxy.addr()).read_to_close();
    assert!(said.starts_with(b"-ERR max number of clients reached"), "{}", said.escape_ascii());
    drop(shaking);
    eventually("there is room again", SEEN, || entry.options().try_connect(&entry.addr()).ok().map(drop));
}

/// What an idle TLS client costs the process, handshake, keys and record in all.
const IDLE_LIMIT: u64 = 12 * 1024;

#[test]
fn an_idle_client_costs_little_whatever_it_speaks() {
    const WARM: usize = 200;
    const COUNT: usize = 2_000;
    let authority = Authority::new("clients");
    let shown = authority.client("client", Who { common_name: "app", ..Who::default() });
    for kind in ["TLS 1.3", "TLS 1.2", "TLS 1.3 with a certificate"] {
        // A new process each: what one kind gives back would be the next one's.
        let (_server, entry) = with_client_auth("optional", &authority);
        let options = match kind {
            "TLS 1.3" => entry.options(),
            "TLS 1.2" => entry.options().only_12(),
            _ => entry.options().showing(&shown),
        };
        let mut clients = options.connect_many(&entry.addr(), WARM);
        let before = entry.proxy.process().resident_bytes();
        clients.extend(options.connect_many(&entry.addr(), COUNT));
        for client in &mut clients {
            assert_eq!(client.cmd("PING").text(), "PONG");
        }
        // What handshakes have left is given back within a second or so.
        thread::sleep(Duration::from_secs(2));
        let after = entry.proxy.process().resident_bytes();
        let each = after.saturating_sub(before) / COUNT as u64;
        println!("an idle client over {kind}: {each} bytes");
        assert!(each <= IDLE_LIMIT, "{kind}: {each} bytes");
        drop(clients);
        eventually("they are gone", SEEN, || (entry.proxy.metric("tls_clients") == 0).then_some(()));
    }
}
