//! Name servers with the examples in `deploy/dns`: each reads its own, and runs with it, is updated as Slotway would and
//! asked as a resolver would. Nothing but folders, ports and addresses is changed for that. CoreDNS is not packaged.

use std::collections::BTreeSet;
use std::fs::{self, create_dir_all};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use slotway_tests::dir::Dir;
use slotway_tests::installed::program;
use slotway_tests::poll::{eventually, try_eventually};
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::server::Server;
use slotway_tests::tool::{adapt, adapted, run, source, source_path};

const SERVICE: &str = "redis.example.com";
const SECRET: &str = "c2xvdHdheSBleGFtcGxlIGtleSwgb25seSBmb3IgdGVzdHM=";
const HOST: &str = "127.0.0.1";
const WITHIN: Duration = Duration::from_secs(20);

#[test]
fn zones_are_right() {
    let Some(check) = program("named-checkzone") else { return };
    for zone in [SERVICE, "example.com"] {
        let file = source_path(&format!("deploy/dns/zones/{zone}.zone"));
        let said = run(&check, ["-i", "local", "-k", "fail", zone, file.to_str().expect("a name")]).output();
        assert!(!said.contains("warning"), "{said}");
    }
}

#[test]
fn bind_is_updated_with_the_key_and_only_where_it_may() {
    let dir = Dir::new("bind");
    let port = free_port();
    let Some(server) = bind(&dir, "named.conf", port, &[("198.51.100.53", HOST)]) else { return };
    let authority = Authority::new(port, &dir, &server);
    authority.is_updated();
    authority.keeps_the_rest();
    authority.follows_a_proxy();
}

#[test]
fn a_second_bind_follows_the_first() {
    let (dir, second_dir) = (Dir::new("bind"), Dir::new("bind-second"));
    let (port, second_port) = (free_port(), free_port());
    let notify = format!("also-notify {{ {HOST} port {second_port}; }}");
    let changes = [("also-notify { 198.51.100.53; }", notify.as_str()), ("198.51.100.53", HOST)];
    let Some(server) = bind(&dir, "named.conf", port, &changes) else { return };
    let authority = Authority::new(port, &dir, &server);
    let primary = format!("primaries {{ {HOST} port {port}; }}");
    let changes = [("primaries { 192.0.2.53; }", primary.as_str()), ("192.0.2.53", HOST)];
    let Some(second) = bind(&second_dir, "secondary.conf", second_port, &changes) else { return };
    let second = Authority::new(second_port, &second_dir, &second);
    assert_eq!(second.ask("A").len(), 4);
    authority.update(SECRET, &format!("update delete {SERVICE}. A 192.0.2.10")).expect("it may");
    eventually("the change", WITHIN, || (second.ask("A").len() == 3).then_some(()));
}

#[test]
fn knot_is_updated_with_the_key_and_only_where_it_may() {
    let (Some(knotd), Some(knotc)) = (program("knotd"), program("knotc")) else { return };
    let dir = Dir::new("knot");
    let port = free_port();
    let folder = dir.path().to_str().expect("a name");
    let listen = format!("listen: {HOST}@{}", port);
    let changes = [
        ("/etc/knot", folder),
        ("/var/lib/knot", folder),
        ("/run/knot", folder),
        ("listen: [ 0.0.0.0@53, ::@53 ]", &listen),
        ("user: knot:knot", "# as whoever runs the test"),
        ("198.51.100.53", "127.0.0.1"),
    ];
    let config = dir.path().join("knot.conf");
    adapt("deploy/dns/knot/knot.conf", &config, &changes);
    let zone = dir.path().join("redis.example.com.zone");
    adapt("deploy/dns/zones/redis.example.com.zone", &zone, &[]);
    let key = format!("key:\n  - id: slotway\n    algorithm: hmac-sha256\n    secret: {SECRET}\n");
    fs::write(dir.path().join("slotway.key"), key).expect("a key");
    let config = config.to_str().expect("a name");
    let _ = run(&knotc, ["-c", config, "conf-check"]).output();
    let _ = run(&knotc, ["-c", config, "zone-check", SERVICE]).output();

    let log = dir.path().join("log");
    let mut command = Command::new(knotd);
    let server = Process::start(command.args(["-c", config]), &log);
    let authority = Authority::new(port, &dir, &server);
    authority.is_updated();
    authority.keeps_the_rest();
    authority.follows_a_proxy();
}

#[test]
fn powerdns_is_updated_with_the_key() {
    let (Some(pdns), Some(_), Some(_)) = (program("pdns_server"), program("pdnsutil"), program("sqlite3"))
    else {
        return;
    };
    let dir = Dir::new("powerdns");
    let port = free_port();
    let folder = dir.path().to_str().expect("a name");
    let number = format!("local-port={}", port);
    let changes = [
        ("/var/lib/powerdns", folder),
        ("/run/powerdns", folder),
        ("local-address=0.0.0.0, ::", "local-address=127.0.0.1"),
        ("local-port=53", &number),
        ("198.51.100.53", "127.0.0.1"),
    ];
    adapt("deploy/dns/powerdns/pdns.conf", &dir.path().join("pdns.conf"), &changes);
    let setup = source_path("deploy/dns/powerdns/setup.sh");
    let said = run(&setup, [folder, SECRET]).output();
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    assert!(said.contains(SECRET), "{said}");
    assert!(run(&setup, [folder, SECRET]).complaint().contains("is there already"));

    let log = dir.path().join("log");
    let server = Process::start(&mut pdns_command(&pdns, folder), &log);
    let authority = Authority::new(port, &dir, &server);
    authority.is_updated();
    authority.follows_a_proxy();
}

#[test]
fn powerdns_asks_through_each_entry() {
    let Some(pdns) = program("pdns_server") else { return };
    let dir = Dir::new("powerdns-lua");
    let (port, health) = (free_port(), Port::lease());
    let folder = dir.path().to_str().expect("a name");
    let number = format!("local-port={}", port);
    let changes = [
        ("/etc/powerdns", folder),
        ("/run/powerdns", folder),
        ("local-address=0.0.0.0, ::", "local-address=127.0.0.1"),
        ("local-port=53", &number),
    ];
    adapt("deploy/dns/powerdns/lua/pdns.conf", &dir.path().join("pdns.conf"), &changes);
    adapt("deploy/dns/powerdns/lua/zones.conf", &dir.path().join("zones.conf"), &changes[..1]);
    let at = format!(":{}/", health.number());
    let zone = dir.path().join("redis.example.com.zone");
    let local = [
        (":9121/", at.as_str()),
        ("192.0.2.10", "127.0.0.10"),
        ("192.0.2.20", "127.0.0.20"),
        ("198.51.100.10", "127.0.0.30"),
        ("198.51.100.20", "127.0.0.40"),
    ];
    adapt("deploy/dns/powerdns/lua/redis.example.com.zone", &zone, &local);
    answer_health([127, 0, 0, 10], health.number(), "200 OK");
    answer_health([127, 0, 0, 20], health.number(), "503 Service Unavailable");
    answer_health([127, 0, 0, 30], health.number(), "200 OK");
    // Nobody is at the fourth.

    let log = dir.path().join("log");
    let server = Process::start(&mut pdns_command(&pdns, folder), &log);
    let authority = Authority::new(port, &dir, &server);
    assert_eq!(authority.ask("A").len(), 4, "nothing is known yet");
    let up = addresses(&["127.0.0.10", "127.0.0.30"]);
    eventually("the entries that are up", WITHIN, || (authority.ask("A") == up).then_some(()));
}

#[test]
fn the_own_responder_is_what_the_zone_above_delegates_to() {
    let dir = Dir::new("responder");
    let port = free_port();
    let server = Server::start();
    let entries = Port::lease();
    let listen = [("#[fleet.responder]", "[fleet.responder]"), ("#nameservers", "nameservers")];
    let local = format!("listen = [\"{HOST}:{port}\"]");
    let changes = [&listen[..], &[(r#"#listen = ["0.0.0.0:53"]"#, local.as_str())]].concat();
    let member = Member::start(&server, &entries, &changes);
    let authority = Authority::new(port, &dir, member.proxy.process());
    eventually("all entries", WITHIN, || (authority.ask("A") == addresses(&BEHIND)).then_some(()));
    let delegated = source("deploy/dns/zones/example.com.zone");
    for server in ["slotway1.example.com.", "slotway2.example.com."] {
        assert!(
            authority.ask("NS").contains(server) && delegated.contains(&format!("IN  NS  {}", &server[..8]))
        );
    }
}

#[test]
fn gdnsd_believes_the_file() {
    let Some(gdnsd) = program("gdnsd") else { return };
    let dir = Dir::new("gdnsd");
    let port = free_port();
    let folder = dir.path().to_str().expect("a name");
    create_dir_all(dir.path().join("zones")).expect("a folder");
    create_dir_all(dir.path().join("extfile")).expect("a folder");
    let listen =
        format!("listen => {HOST}\n  dns_port => {}\n  run_dir => {folder}\n  state_dir => {folder}", port);
    adapt("deploy/dns/gdnsd/config", &dir.path().join("config"), &[("listen => any", &listen)]);
    let zone = dir.path().join("zones/redis.example.com");
    adapt("deploy/dns/gdnsd/zones/redis.example.com", &zone, &[]);
    let said = run(&gdnsd, ["-c", folder, "-S", "checkconf"]);
    assert!(said.well && !said.errors.contains("warning"), "{}{}", said.output, said.errors);

    let state = dir.path().join("extfile/slotway");
    fs::write(&state, "192.0.2.10 => DOWN\n192.0.2.20 => UP\n").expect("a file");
    let mut command = Command::new(gdnsd);
    let log = dir.path().join("log");
    let server = Process::start(command.args(["-c", folder, "start"]), &log);
    let authority = Authority::new(port, &dir, &server);
    let rest = addresses(&["192.0.2.20", "198.51.100.10", "198.51.100.20"]);
    assert_eq!(authority.ask("A"), rest);
    assert_eq!(authority.ask("AAAA").len(), 4, "of these the file says nothing");

    // Of three that are down too much is down to be believed.
    let renewed = dir.path().join("renewed");
    fs::write(&renewed, "192.0.2.10 => DOWN\n192.0.2.20 => DOWN\n198.51.100.10 => DOWN\n").expect("a file");
    fs::rename(&renewed, &state).expect("a new file in the old one's place");
    eventually("an answer of all", WITHIN, || (authority.ask("A").len() == 4).then_some(()));
}

/// A proxy with the settings in `deploy/fleet.example.toml`, which is behind all entries itself.
struct Member {
    proxy: Proxy,
    settings: String,
}

/// Where its entries are.
const BEHIND: [&str; 4] = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"];

impl Member {
    fn start(server: &Server, port: &Port, changes: &[(&str, &str)]) -> Self {
        let (admin, agent) = (Port::lease(), Port::lease());
        let seeds = r#"["redis://10.0.0.21:6379", "redis://10.0.0.22:6379", "redis://10.0.0.23:6379"]"#;
        let here = [
            (r#"listen = ["0.0.0.0:6379", "0.0.0.0:6380"]"#, ""),
            ("0.0.0.0:9121", &format!("{HOST}:{}", admin.number())),
            ("0.0.0.0:9122", &format!("{HOST}:{}", agent.number())),
            (&format!("seeds = {seeds}"), &format!("standalone = \"redis://{}\"", server.addr())),
            ("port = 6379", &format!("port = {}", port.number())),
            (r#"proxy_protocol = ["0.0.0.0:6379"]"#, ""),
            (r#""192.0.2.10", "2001:db8:0:6379::a""#, r#""127.0.0.11""#),
            (r#""192.0.2.20", "2001:db8:0:6379::b""#, r#""127.0.0.12""#),
            (r#""198.51.100.10", "2001:db8:0:6379::c""#, r#""127.0.0.13""#),
            (r#""198.51.100.20", "2001:db8:0:6379::d""#, r#""127.0.0.14""#),
        ];
        let settings = adapted("deploy/fleet.example.toml", &[&here, changes].concat());
        let listen = |options: Options, host| options.flag("--listen", &format!("{host}:{}", port.number()));
        let proxy = BEHIND.into_iter().fold(Options::default(), listen).config(&settings).start();
        Self { proxy, settings }
    }
}

/// BIND with one of the examples in `deploy/dns/bind`, in a folder of its own.
fn bind(dir: &Dir, example: &str, port: u16, changes: &[(&str, &str)]) -> Option<Process> {
    let (named, check) = (program("named")?, program("named-checkconf")?);
    let folder = dir.path().to_str().expect("a name");
    let listen = format!("listen-on port {port} {{ {HOST}; }}");
    let here = [
        ("/var/cache/bind", folder),
        ("/run/named", folder),
        // The command channel's port is not ours to take.
        ("options {", "controls { };\noptions {"),
        ("listen-on port 53 { any; }", listen.as_str()),
        ("listen-on-v6 port 53 { any; }", "listen-on-v6 { none; }"),
    ];
    let of_primary = [("/etc/bind", folder), ("/var/lib/bind", folder)];
    let of_primary = if example == "named.conf" { &of_primary[..] } else { &[] };
    let config = dir.path().join("named.conf");
    adapt(&format!("deploy/dns/bind/{example}"), &config, &[&here, of_primary, changes].concat());
    if example == "named.conf" {
        adapt("deploy/dns/zones/redis.example.com.zone", &dir.path().join("redis.example.com.zone"), &[]);
        fs::write(dir.path().join("slotway.key"), key_of_bind(SECRET)).expect("a key");
    }
    let config = config.to_str().expect("a name");
    let _ = run(&check, ["-z", config]).output();
    let mut command = Command::new(named);
    Some(Process::start(command.args(["-g", "-n", "1", "-c", config]), &dir.path().join("log")))
}

/// A name server that runs with one of the examples.
struct Authority<'a> {
    port: u16,
    dir: &'a Dir,
}

impl<'a> Authority<'a> {
    /// Waits until the server answers.
    fn new(port: u16, dir: &'a Dir, server: &Process) -> Self {
        let this = Self { port, dir };
        let answered = try_eventually(WITHIN, || this.dig("SOA").filter(|it| !it.is_empty()));
        assert!(answered.is_some(), "no answer: {}", server.log_tail());
        this
    }

    /// What a resolver would get.
    fn ask(&self, kind: &str) -> BTreeSet<String> {
        self.dig(kind).expect("an answer").lines().map(str::to_owned).collect()
    }

    fn dig(&self, kind: &str) -> Option<String> {
        let port = self.port.to_string();
        let dig = program("dig")?;
        let server = format!("@{HOST}");
        let arguments = [&server, "-p", &port, "+short", "+norecurse", "+tries=1", "+time=2", SERVICE, kind];
        let said = run(&dig, arguments);
        said.well.then_some(said.output)
    }

    /// Sends an update with a key of this secret; whether it was carried out, or what was said.
    fn update(&self, secret: &str, lines: &str) -> Result<(), String> {
        let key = self.dir.path().join("client.key");
        fs::write(&key, key_of_bind(secret)).expect("a key");
        let mut command = Command::new(program("nsupdate").expect("it is installed with dig"));
        command.arg("-k").arg(&key).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsupdate starts");
        let text = format!("server {HOST} {}\nzone {SERVICE}\n{lines}\nsend\n", self.port);
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("nsupdate reads");
        let output = child.wait_with_output().expect("nsupdate ends");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The service's addresses are replaced at once, with the key only and where the prerequisite holds only.
    fn is_updated(&self) {
        assert_eq!(self.ask("A").len(), 4);
        let replace = |address: &str| {
            format!(
                "update delete {SERVICE}. A\nupdate add {SERVICE}. 15 A {address}\nupdate add {SERVICE}. 15 A 192.0.2.20"
            )
        };
        self.update(SECRET, &replace("192.0.2.10")).expect("it may");
        assert_eq!(self.ask("A"), addresses(&["192.0.2.10", "192.0.2.20"]));
        assert_eq!(self.ask("AAAA").len(), 4, "the other set is as it was");

        let prerequisite = format!("prereq yxrrset {SERVICE}. A 192.0.2.99\n{}", replace("192.0.2.30"));
        let said = self.update(SECRET, &prerequisite).expect_err("the set is another");
        assert!(said.contains("NXRRSET"), "{said}");
        let wrong = "bm90IHRoZSBrZXkgdGhhdCB3YXMgYWdyZWVkIHVwb24hISE=";
        let said = self.update(wrong, &replace("192.0.2.30")).expect_err("another key");
        assert!(["NOTAUTH", "BADSIG", "REFUSED", "bad"].iter().any(|word| said.contains(word)), "{said}");
        assert_eq!(self.ask("A"), addresses(&["192.0.2.10", "192.0.2.20"]));
    }

    /// A proxy with the example's settings has the name resolve to the entries that are to get clients.
    fn follows_a_proxy(&self) {
        let (server, port) = (Server::start(), Port::lease());
        let key = self.dir.path().join("tsig.key");
        fs::write(&key, SECRET).expect("a key");
        let here = format!("servers = [\"{HOST}:{}\"]\nttl = \"5s\"", self.port);
        let changes = [
            ("#[fleet.rfc2136]", "[fleet.rfc2136]"),
            (r#"#servers = ["192.0.2.53"]"#, here.as_str()),
            ("#zone", "zone"),
            ("#key_name", "key_name"),
            (r#"#key_file = "/etc/slotway/tsig.key""#, &format!("key_file = {key:?}")),
        ];
        let member = Member::start(&server, &port, &changes);
        eventually("all entries", WITHIN, || (self.ask("A") == addresses(&BEHIND)).then_some(()));
        assert!(self.ask("AAAA").is_empty(), "the entries have no such addresses any more");
        member.proxy.rewrite(&member.settings.replace("id = \"b\"", "id = \"b\"\ndrain = true"));
        let rest = addresses(&["127.0.0.11", "127.0.0.13", "127.0.0.14"]);
        eventually("all entries but the one that drains", WITHIN, || (self.ask("A") == rest).then_some(()));
    }

    /// The key is of no use for anything else.
    fn keeps_the_rest(&self) {
        for line in [
            format!("update add a.{SERVICE}. 15 A 192.0.2.66"),
            format!("update add new.{SERVICE}. 15 A 192.0.2.66"),
            format!("update add {SERVICE}. 15 MX 10 mail.example.net."),
            format!("update add {SERVICE}. 15 NS ns.example.net."),
        ] {
            let said = self.update(SECRET, &line).expect_err("it may not");
            assert!(said.contains("REFUSED") || said.contains("NOTAUTH"), "{line}: {said}");
        }
    }
}

/// A port for a name server: what leases it to a test is the UDP port of the same number, which the server wants itself.
fn free_port() -> u16 {
    Port::lease().number()
}

fn pdns_command(pdns: &Path, folder: &str) -> Command {
    let mut command = Command::new(pdns);
    command.arg(format!("--config-dir={folder}")).args(["--daemon=no", "--guardian=no"]);
    command
}

fn key_of_bind(secret: &str) -> String {
    format!("key \"slotway\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")
}

fn addresses(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&address| address.to_owned()).collect()
}

/// Answers each request at `address` with `status`, for as long as the test's process lives.
fn answer_health(address: [u8; 4], port: u16, status: &'static str) {
    let listener = TcpListener::bind((Ipv4Addr::from(address), port)).expect("an address of loopback");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
}
