//! The examples in `deploy`: each is read by the program it is for, HAProxy leads to a proxy with it, and all speak of the
//! same entries. Name servers are in `deploy_dns.rs`, the Helm chart in `deploy_chart.rs`.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use slotway_tests::dir::Dir;
use slotway_tests::installed::program;
use slotway_tests::page::{number, page};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::{Options, binary};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::tool::{adapt, adapted, run, source, source_path};

const HOST: &str = "127.0.0.1";
const WITHIN: Duration = Duration::from_secs(20);

#[test]
fn resolvers_and_balancers_read_their_files() {
    for (name, arguments, file) in [
        ("unbound-checkconf", &[][..], "deploy/dns/resolvers/unbound.conf"),
        ("dnsmasq", &["--test", "-C"], "deploy/dns/resolvers/dnsmasq.conf"),
        ("haproxy", &["-c", "-dW", "-f"], "deploy/haproxy/haproxy.cfg"),
    ] {
        let Some(reader) = program(name) else { continue };
        let file = source_path(file);
        let arguments = arguments.iter().copied().chain(file.to_str());
        let _ = run(&reader, arguments).output();
    }
}

#[test]
fn the_proxy_reads_the_settings_of_the_fleet() {
    let file = source_path("deploy/fleet.example.toml");
    let _ = run(&binary(), ["check", file.to_str().expect("a name")]).output();
}

#[test]
fn haproxy_leads_to_a_proxy_that_serves_and_says_which_entry_it_is() {
    let Some(haproxy) = program("haproxy") else { return };
    let (server, dir) = (Server::start(), Dir::new("haproxy"));
    let [entry, own, admin, stats, agent] = [(); 5].map(|()| Port::lease());
    let [entry_at, own_at] =
        [("127.0.0.11", &entry), (HOST, &own)].map(|(host, port)| format!("{host}:{}", port.number()));
    let admin_at = format!("{HOST}:{}", admin.number());
    let folder = dir.path().to_str().expect("a name");
    let config = dir.path().join("haproxy.cfg");
    let about_at = format!("127.0.0.11:{}", admin.number());
    let changes = [
        ("maxconn 100000", "maxconn 200"),
        ("maxconn 50000", "maxconn 100"),
        ("192.0.2.10:6379", entry_at.as_str()),
        ("bind [2001:db8:0:6379::a]:6379", ""),
        ("192.0.2.10:9121", &about_at),
        ("bind [2001:db8:0:6379::a]:9121", ""),
        ("10.0.0.11:6379", &own_at),
        ("10.0.0.11:9121", &admin_at),
        ("10.0.0.12:9121", "127.0.0.2:1"),
        // Nobody is there: neither a proxy nor one who says that it is ready.
        ("10.0.0.12:6379", "127.0.0.2:1"),
        ("check port 9121", &format!("check port {}", admin.number())),
        ("agent-port 9122", &format!("agent-port {}", agent.number())),
        ("/run/haproxy", folder),
        ("127.0.0.1:8404", &format!("{HOST}:{}", stats.number())),
    ];
    adapt("deploy/haproxy/haproxy.cfg", &config, &changes);
    let seeds = r#"seeds = ["redis://10.0.0.21:6379", "redis://10.0.0.22:6379", "redis://10.0.0.23:6379"]"#;
    let changes = [
        (r#"listen = ["0.0.0.0:6379", "0.0.0.0:6380"]"#, ""),
        ("0.0.0.0:9121", admin_at.as_str()),
        ("0.0.0.0:9122", &format!("{HOST}:{}", agent.number())),
        (seeds, &format!("standalone = \"redis://{}\"", server.addr())),
        ("port = 6379", &format!("port = {}", entry.number())),
        (r#"proxy_protocol = ["0.0.0.0:6379"]"#, &format!("proxy_protocol = [\"{own_at}\"]")),
        (r#""192.0.2.10", "2001:db8:0:6379::a""#, r#""127.0.0.11""#),
        // Here nobody answers at once.
        (r#""192.0.2.20", "2001:db8:0:6379::b""#, r#""127.0.0.12""#),
        (r#""198.51.100.10", "2001:db8:0:6379::c""#, r#""127.0.0.13""#),
        (r#""198.51.100.20", "2001:db8:0:6379::d""#, r#""127.0.0.14""#),
    ];
    let settings = adapted("deploy/fleet.example.toml", &changes);
    let _proxy = Options::default().flag("--listen", &own_at).config(&settings).start();

    let mut command = Command::new(haproxy);
    let balancer = Process::start(command.arg("-db").arg("-f").arg(config), &dir.path().join("log"));
    let connected = eventually("HAProxy", WITHIN, || TcpStream::connect(&entry_at).ok());
    drop(connected);
    let mut clients: Vec<Raw> = (0..20).map(|_| Raw::connect(&entry_at)).collect();
    for client in &mut clients {
        assert_eq!(client.cmd("PING").text(), "PONG", "{}", balancer.log_tail());
    }
    let counted = || number(&admin_at, "slotway_entry_connections{entry=\"a\"}").filter(|it| *it == 20);
    eventually("all are clients of the entry a", WITHIN, counted);
    eventually("that is known of the entries", WITHIN, || {
        let entries = page(&admin_at, "/entries");
        let of = |id: &str| entries.lines().find(|line| line.starts_with(&format!("{id}: ")));
        (of("a")?.contains(" up,") && of("b")?.contains(" down,")).then_some(())
    });
    // Through the entry each is told how that one is.
    assert!(page(&about_at, "/healthz").ends_with("up\n"));
    assert!(page(&about_at, "/dns-weight").ends_with("\n1000\n"), "{}", page(&about_at, "/dns-weight"));
    assert!(page(&about_at, "/config").starts_with("HTTP/1.1 403"), "and nothing else");
}

#[test]
fn all_files_speak_of_the_same_entries() {
    let expected: BTreeSet<String> = [
        "192.0.2.10",
        "192.0.2.20",
        "198.51.100.10",
        "198.51.100.20",
        "2001:db8:0:6379::a",
        "2001:db8:0:6379::b",
        "2001:db8:0:6379::c",
        "2001:db8:0:6379::d",
    ]
    .map(str::to_owned)
    .into();
    for file in [
        "deploy/dns/zones/redis.example.com.zone",
        "deploy/dns/powerdns/lua/redis.example.com.zone",
        "deploy/dns/gdnsd/zones/redis.example.com",
        "deploy/dns/gdnsd/config",
        "deploy/dns/coredns/redis.example.com.weights",
        "deploy/fleet.example.toml",
    ] {
        let text = source(file);
        let words = text.lines().filter(|line| !line.starts_with([';', '#']));
        let words =
            words.flat_map(|line| line.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.'));
        let found = words.filter(|word| word.parse::<IpAddr>().is_ok()).map(str::to_owned);
        let found: BTreeSet<String> = found.filter(|word| word != "::").collect();
        assert_eq!(found, expected, "{file}");
    }
}
