//! Real DNS servers that take updates: the zone `example.test` with the key `slotway`, at a free port.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::dir::Dir;
use crate::installed::program;
use crate::poll::eventually;
use crate::ports::Port;
use crate::process::Process;

/// The key's secret, in base64.
pub const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
/// BIND binds no address that no interface has.
const HOST: &str = "127.0.0.1";
/// A leased port is taken for UDP: of each lease the one so far below it is used, where nobody leases.
const BELOW: u16 = 14_000;

/// The name that is published.
pub const NAME: &str = "redis.example.test";

const SOON: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Brand {
    /// `named`
    Bind,
    /// `knotd`
    Knot,
    /// `pdns_server`, with the backend of SQLite.
    Powerdns,
    /// `gdnsd`, which takes no updates and reads the file `weights` of its directory.
    Gdnsd,
}

/// A running DNS server; ended on drop.
#[derive(Debug)]
pub struct NameServer {
    brand: Brand,
    program: PathBuf,
    process: Option<Process>,
    lease: Port,
    dir: Dir,
}

impl NameServer {
    /// Starts one; `None` where it is not installed, see [`program`].
    ///
    /// # Panics
    /// Where it does not answer in time.
    #[track_caller]
    #[must_use]
    pub fn start(brand: Brand) -> Option<Self> {
        let program = program(match brand {
            Brand::Bind => "named",
            Brand::Knot => "knotd",
            Brand::Powerdns => "pdns_server",
            Brand::Gdnsd => "gdnsd",
        })?;
        let mut server = Self { brand, program, process: None, lease: lease(), dir: Dir::new("dns") };
        server.configure();
        server.resume();
        Some(server)
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("{HOST}:{}", self.port())
    }

    fn port(&self) -> u16 {
        self.lease.number() - BELOW
    }

    /// A file of its directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Ends it, as a crash would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Has BIND's zone be as it was in the beginning. Only while it is stopped.
    pub fn lose_zone(&self) {
        let _ = fs::remove_file(self.file("zone.jnl"));
        fs::write(self.file("zone"), ZONE).expect("a writable directory");
    }

    /// Starts it again.
    ///
    /// # Panics
    /// Where it does not answer in time.
    #[track_caller]
    pub fn resume(&mut self) {
        let mut command = Command::new(&self.program);
        let path = |name: &str| self.file(name).display().to_string();
        match self.brand {
            Brand::Bind => command.args(["-g", "-n", "1", "-c", &path("named.conf")]),
            Brand::Knot => command.args(["-c", &path("knot.conf")]),
            Brand::Powerdns => {
                command.args([&format!("--config-dir={}", path("")), "--daemon=no", "--guardian=no"])
            }
            Brand::Gdnsd => command.args(["-c", &path(""), "start"]),
        };
        self.process = Some(Process::start(&mut command, &self.file("log")));
        let answers = eventually_answers(self);
        assert!(answers, "the DNS server does not answer: {}", self.log());
    }

    /// What `dig` is told of a type of records of a name, a line each, in order.
    ///
    /// # Panics
    /// Where `dig` can't be run.
    #[must_use]
    pub fn dig(&self, name: &str, of: &str) -> Vec<String> {
        let port = self.port().to_string();
        let output = Command::new("dig")
            .args(["+short", "+tries=1", "+time=2", &format!("@{HOST}"), "-p", &port, name, of])
            .stdin(Stdio::null())
            .output()
            .expect("dig, which comes with BIND");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<_> =
            text.lines().filter(|line| !line.starts_with(";;")).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The zone's serial number.
    ///
    /// # Panics
    /// Where there is no zone.
    #[must_use]
    pub fn serial(&self) -> u32 {
        let soa = self.dig("example.test", "SOA");
        let serial = soa.first().and_then(|soa| soa.split(' ').nth(2)).and_then(|serial| serial.parse().ok());
        serial.unwrap_or_else(|| panic!("no serial in {soa:?}"))
    }

    /// Waits until the name resolves to these IPv4 addresses and no others.
    #[track_caller]
    pub fn wait_for(&self, addresses: &[&str], within: Duration) {
        let mut last = Vec::new();
        eventually(&format!("the name resolves to {addresses:?}"), within, || {
            last = self.dig(NAME, "A");
            (last == addresses).then_some(())
        });
    }

    /// Changes BIND's zone as somebody else, with a key that may do anything.
    ///
    /// # Panics
    /// Where that does not work.
    pub fn update(&self, lines: &str) {
        let script = self.file("update");
        let port = self.port();
        fs::write(&script, format!("server {HOST} {port}\nzone example.test\n{lines}\nsend\n"))
            .expect("a writable directory");
        let key = format!("hmac-sha256:other:{SECRET}");
        let output = Command::new("nsupdate").args(["-y", &key]).arg(&script).output();
        let output = output.expect("nsupdate, which comes with BIND");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn configure(&self) {
        let (dir, port) = (self.dir.path().display(), self.port());
        let write =
            |name: &str, text: String| fs::write(self.file(name), text).expect("a writable directory");
        match self.brand {
            Brand::Bind => {
                write("zone", ZONE.to_owned());
                write("named.conf", bind(&dir.to_string(), port));
            }
            Brand::Knot => {
                write("zone", ZONE.to_owned());
                write("knot.conf", knot(&dir.to_string(), port));
            }
            Brand::Powerdns => {
                write(
                    "pdns.conf",
                    format!(
                        "launch=gsqlite3\ngsqlite3-database={dir}/db\nlocal-address={HOST}\nlocal-port={port}\n\
                         socket-dir={dir}\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n"
                    ),
                );
                self.fill_database();
            }
            Brand::Gdnsd => {
                for folder in ["run", "state", "zones"] {
                    fs::create_dir_all(self.file(folder)).expect("a writable directory");
                }
                write("config", gdnsd(&dir.to_string(), port));
                let zone = "@ SOA ns1 hostmaster ( 1 7200 1800 259200 60 )\n@ NS ns1\nns1 A 127.0.0.1\n";
                write("zones/example.test", format!("{zone}redis 15 DYNA weighted!redis\n"));
                write("weights", String::new());
            }
        }
    }

    fn fill_database(&self) {
        let schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
        let schema = fs::File::open(schema).expect("the schema of the backend of SQLite");
        let run = |command: &mut Command| {
            let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("sqlite3").arg(self.file("db")).stdin(schema));
        let util = |arguments: &[&str]| {
            let config = format!("--config-dir={}", self.dir.path().display());
            run(Command::new("pdnsutil").arg(config).args(arguments));
        };
        util(&["create-zone", "example.test", "ns1.example.test"]);
        util(&["import-tsig-key", "slotway", "hmac-sha256", SECRET]);
        util(&["set-meta", "example.test", "TSIG-ALLOW-DNSUPDATE", "slotway"]);
    }
}

/// One whose port below is free for both.
fn lease() -> Port {
    let free = |lease: &Port| {
        let addr = (HOST, lease.number() - BELOW);
        TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok()
    };
    loop {
        let lease = Port::lease();
        if free(&lease) {
            return lease;
        }
    }
}

fn eventually_answers(server: &NameServer) -> bool {
    eventually("the DNS server answers", SOON, || {
        (!server.dig("example.test", "SOA").is_empty()).then_some(true)
    })
}

/// Without the name.
const ZONE: &str = "$TTL 60\n@ IN SOA ns1 hostmaster 1 7200 1800 259200 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n\
                    alias IN CNAME ns1\n";

fn bind(dir: &str, port: u16) -> String {
    let key = |name: &str| format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    format!(
        "options {{ directory \"{dir}\"; pid-file \"{dir}/pid\"; session-keyfile \"{dir}/session.key\";\n\
         listen-on port {port} {{ {HOST}; }}; listen-on-v6 {{ none; }}; recursion no; }};\n\
         controls {{ }};\n{}{}{}\
         zone \"example.test\" {{ type primary; file \"zone\"; update-policy {{\n\
         grant slotway name {NAME} A AAAA;\ngrant other zonesub ANY;\n}}; }};\n",
        key("slotway"),
        key("other"),
        key("powerless")
    )
}

fn knot(dir: &str, port: u16) -> String {
    format!(
        "server:\n    rundir: {dir}\n    listen: {HOST}@{port}\ndatabase:\n    storage: {dir}\n\
         key:\n  - id: slotway\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         acl:\n  - id: slotway\n    key: slotway\n    action: update\n    update-owner: name\n    \
         update-owner-match: equal\n    update-owner-name: {NAME}.\n    update-type: [A, AAAA]\n\
         zone:\n  - domain: example.test\n    storage: {dir}\n    file: zone\n    acl: slotway\n"
    )
}

fn gdnsd(dir: &str, port: u16) -> String {
    format!(
        "options => {{ listen => {HOST}:{port}, run_dir => \"{dir}/run\", state_dir => \"{dir}/state\" }}\n\
         service_types => {{ slotway => {{ plugin => extfile, file => \"{dir}/weights\", direct => true, \
         interval => 2 }} }}\n\
         plugins => {{ weighted => {{ multi => true, service_types => slotway, redis => {{\n\
         a => [ 127.0.0.21, 10 ], b => [ 127.0.0.22, 10 ], c => [ 127.0.0.23, 10 ] }} }} }}\n"
    )
}
