//! The responder, asked by dig, kdig and a resolver, and by what is no query.

use std::collections::HashMap;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use slotway_tests::dir::Dir;
use slotway_tests::installed::program;
use slotway_tests::member::{Member, SOON, entries, fleet};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::Options;
use slotway_tests::server::Server;

struct Lab {
    _server: Server,
    member: Member,
    port: Port,
    dns: Port,
}

/// A leased port is taken for UDP: of each lease the one so far below it is used, where nobody leases.
fn name_port(lease: &Port) -> u16 {
    lease.number() - 14_000
}

/// The settings, with more of the responder and of the entries.
fn settings(port: u16, dns: u16, responder: &str, more: [&str; 2], admin: &str) -> String {
    let [a, b] = entries(port);
    let own = format!(
        "[fleet.responder]\nlisten = [\"127.0.0.1:{dns}\"]\n{responder}\n\
         nameservers = [{{ name = \"ns1.redis.test\", addresses = [\"127.0.0.1\"] }}]\n"
    );
    fleet(port, [&a, &b], more, admin) + &own
}

impl Lab {
    fn start(responder: &str) -> Self {
        let (server, port, dns) = (Server::start(), Port::lease(), Port::lease());
        let options = Options::standalone(&format!("redis://{}", server.addr()));
        let member = Member::with(options, |admin| {
            settings(port.number(), name_port(&dns), responder, [""; 2], admin)
        });
        member.wait_for("b", "up");
        Self { _server: server, member, port, dns }
    }

    /// What `dig` or `kdig` prints.
    fn ask(&self, program: &str, arguments: &str) -> String {
        let port = name_port(&self.dns).to_string();
        let asked = Command::new(program)
            .args(["@127.0.0.1", "-p", &port, "+timeout=5"])
            .args(arguments.split_whitespace())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(asked.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).expect("text")
    }

    fn addresses(&self, arguments: &str) -> Vec<String> {
        let mut addresses: Vec<_> =
            self.ask("dig", &format!("+short {arguments}")).lines().map(str::to_owned).collect();
        addresses.sort();
        addresses
    }
}

#[test]
fn dig_and_kdig_are_happy_with_every_answer() {
    let programs = ["dig", "kdig"].map(program);
    if programs.contains(&None) {
        return;
    }
    let lab = Lab::start("");
    for program in ["dig", "kdig"] {
        for how in ["", "+tcp", "+noedns", "+bufsize=512", "+dnssec", "+nocookie"] {
            for (question, code) in [
                ("redis.test A", "NOERROR"),
                ("ReDiS.tEsT A", "NOERROR"),
                ("redis.test AAAA", "NOERROR"),
                ("redis.test SOA", "NOERROR"),
                ("redis.test NS", "NOERROR"),
                ("redis.test ANY", "NOERROR"),
                ("redis.test TYPE65", "NOERROR"),
                ("a.redis.test A", "NOERROR"),
                ("ns1.redis.test A", "NOERROR"),
                ("nobody.redis.test A", "NXDOMAIN"),
                ("example.com A", "REFUSED"),
                ("version.bind CH TXT", "REFUSED"),
            ] {
                // dig takes its class elsewhere, and both ask for ANY by TCP.
                let asked = lab.ask(program, &format!("{how} {question}"));
                assert!(asked.contains(&format!("status: {code}")), "{program} {how} {question}: {asked}");
                for word in ["WARNING", "mismatch", "malformed", "Malformed", "unexpected"] {
                    // That recursion was asked for and is not there is told of every authority.
                    let told = asked.lines().filter(|line| !line.contains("recursion requested"));
                    assert!(
                        !told.into_iter().any(|line| line.contains(word)),
                        "{program} {how} {question}: {asked}"
                    );
                }
            }
        }
    }
    assert_eq!(lab.addresses("redis.test A"), ["127.0.0.11", "127.0.0.12"]);
    assert!(lab.ask("dig", "+opcode=status redis.test").contains("status: NOTIMP"));
    assert!(lab.ask("dig", "+edns=1 +noednsnegotiation redis.test").contains("status: BADVERS"));
    assert!(lab.member.proxy.metric("dns_answers") > 100);
}

#[test]
fn an_entry_to_be_left_or_down_is_in_no_answer_and_the_name_is_never_empty() {
    if program("dig").is_none() {
        return;
    }
    let lab = Lab::start("ttl = \"5s\"");
    let (port, dns, admin) = (lab.port.number(), name_port(&lab.dns), lab.member.admin.clone());
    let reload = |more| lab.member.reload(&settings(port, dns, "ttl = \"5s\"", more, &admin));
    reload(["drain = true", ""]);
    eventually("one entry is left", SOON, || (lab.addresses("redis.test") == ["127.0.0.12"]).then_some(()));
    reload(["drain = true", "drain = true"]);
    eventually("both, as nobody would be left", SOON, || {
        (lab.addresses("redis.test").len() == 2).then_some(())
    });
    assert_eq!(lab.addresses("a.redis.test"), ["127.0.0.11"], "its own name stays");
}

#[test]
fn a_resolver_passes_answers_on() {
    let Some(unbound) = program("unbound") else { return };
    if program("dig").is_none() {
        return;
    }
    let (lab, own, dir) = (Lab::start(""), Port::lease(), Dir::new("unbound"));
    let file = dir.path().join("unbound.conf");
    let text = format!(
        "server:\n  interface: 127.0.0.1@{}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  use-syslog: no\n  \
         directory: \"{}\"\n  pidfile: \"\"\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
         local-zone: \"test.\" transparent\nstub-zone:\n  name: \"redis.test\"\n  stub-addr: 127.0.0.1@{}\n",
        name_port(&own),
        dir.path().display(),
        name_port(&lab.dns)
    );
    fs::write(&file, text).expect("a writable directory");
    let mut command = Command::new(unbound);
    command.args(["-d", "-c"]).arg(&file);
    let _resolver = Process::start(&mut command, &dir.path().join("log"));
    let ask = || {
        let arguments = [
            "@127.0.0.1",
            "-p",
            &name_port(&own).to_string(),
            "+short",
            "+tries=1",
            "+timeout=1",
            "redis.test",
        ];
        let asked = Command::new("dig").args(arguments).output().expect("dig");
        String::from_utf8_lossy(&asked.stdout).lines().filter(|line| line.starts_with("127.")).count()
    };
    eventually("the resolver answers", SOON, || (ask() == 2).then_some(()));
}

/// A query for redis.test of type A, by hand.
fn query(id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"\x05redis\x04test\x00\x00\x01\x00\x01");
    bytes
}

fn socket(lab: &Lab) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(("127.0.0.1", name_port(&lab.dns))).expect("an address");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket
}

fn answered(socket: &UdpSocket, query: &[u8]) -> Option<Vec<u8>> {
    socket.send(query).expect("sent");
    let mut answer = vec![0; 2_000];
    let count = socket.recv(&mut answer).ok()?;
    answer.truncate(count);
    Some(answer)
}

#[test]
fn orders_of_records_change_and_what_is_no_query_is_survived() {
    let lab = Lab::start("rate = \"off\"");
    let socket = socket(&lab);
    let mut first = HashMap::<[u8; 4], u32>::new();
    for id in 0..500 {
        let answer = answered(&socket, &query(id)).expect("an answer");
        assert_eq!((&answer[..2], answer[3] & 0xf, answer[7]), (&id.to_be_bytes()[..], 0, 2));
        // Behind the question: a pointer, type, class, TTL and length, then the address.
        let address = &answer[28 + 12..28 + 16];
        *first.entry(address.try_into().expect("four bytes")).or_default() += 1;
    }
    assert_eq!(first.len(), 2);
    assert!(first.values().all(|count| (150..350).contains(count)), "{first:?}");
    for _ in 0..2_000 {
        let mut bytes = query(fastrand::u16(..));
        match fastrand::u8(..4) {
            0 => bytes.truncate(fastrand::usize(..bytes.len())),
            1 => bytes.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(..600))),
            2 => bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(..200)).collect(),
            _ => (0..4).for_each(|_| {
                let place = fastrand::usize(..bytes.len());
                bytes[place] = fastrand::u8(..);
            }),
        }
        socket.send(&bytes).expect("sent");
    }
    // Over another socket: answers to the above wait in this one.
    let fresh = self::socket(&lab);
    fresh.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    eventually("it still answers", SOON, || {
        answered(&fresh, &query(0xabcd)).filter(|answer| answer[7] == 2).map(drop)
    });
}

#[test]
fn whoever_asks_too_often_is_sent_to_tcp_or_not_answered() {
    let lab = Lab::start("rate = 20");
    let socket = socket(&lab);
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    for id in 0..400 {
        socket.send(&query(id)).expect("sent");
    }
    let (mut whole, mut cut, mut answer) = (0, 0, [0; 2_000]);
    while let Ok(count) = socket.recv(&mut answer) {
        if answer[2] & 2 == 0 {
            whole += 1
        } else {
            cut += 1
        }
        assert!(answer[2] & 2 == 0 || count <= query(0).len(), "no more than was asked");
    }
    assert!((20..150).contains(&whole) && cut > 0 && whole + cut < 400, "{whole} whole, {cut} cut");
    if program("dig").is_some() {
        assert_eq!(lab.addresses("+tcp redis.test").len(), 2, "by TCP everybody is answered");
    }
}
