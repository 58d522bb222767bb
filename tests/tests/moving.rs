//! Clients that are moved to another entry, or closed between two requests: nothing is lost, nothing is done twice.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use slotway_tests::certs::Authority;
use slotway_tests::installed::{installed, python};
use slotway_tests::member::{HOSTS, Member, SOON, entries, fleet};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::Options;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

/// A client library, counting: `moving.py` or `moving.js`.
struct Pool {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Pool {
    /// redis-py with its defaults, but over TLS where it is given whom to believe.
    fn python(host: &str, port: u16, authority: Option<&Path>) -> Option<Self> {
        let mut command = Command::new(python()?);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python/moving.py"));
        command.args([host, &port.to_string(), "counter"]).args(authority);
        Some(Self::start(&mut command))
    }

    fn node(host: &str, port: u16) -> Option<Self> {
        let modules = installed("tests/clients/node/node_modules/redis", "node-redis")?;
        let mut command = Command::new("node");
        command.arg(modules.join("../../moving.js")).args([host, &port.to_string(), "counter"]);
        Some(Self::start(&mut command))
    }

    fn start(command: &mut Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an interpreter");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut pool = Self { process, input, output };
        assert_eq!(pool.line(), "counting");
        pool
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Where its connections lead.
    fn hosts(&mut self) -> Vec<String> {
        self.input.write_all(b"hosts\n").expect("an open pipe");
        serde_json::from_str(&self.line()).expect("JSON")
    }

    fn end(mut self) -> (u64, Vec<Json>) {
        self.input.write_all(b"end\n").expect("an open pipe");
        let told: Json = serde_json::from_str(&self.line()).expect("JSON");
        assert!(self.process.wait().expect("an end").success());
        (told["answers"].as_u64().expect("a number"), told["errors"].as_array().expect("a list").clone())
    }
}

fn member(server: &Server, port: u16) -> Member {
    Member::start(Options::standalone(&format!("redis://{}", server.addr())), port)
}

/// Drains the entry of these clients: they are at the other one soon, without an error, and each count was done once.
fn leave(member: &Member, mut pools: Vec<Pool>, settings: &dyn Fn([&str; 2]) -> String) {
    pools.iter_mut().for_each(|pool| assert_eq!(pool.hosts(), [HOSTS[0]]));
    assert!(member.own("a", "connections") > 0, "its entry is known");
    member.reload(&settings(["drain = true", ""]));
    for pool in &mut pools {
        eventually("all are at the other entry", SOON, || (pool.hosts() == [HOSTS[1]]).then_some(()));
    }
    eventually("nobody is left", SOON, || (member.own("a", "connections") == 0).then_some(()));
    let told = member.proxy.metric("moves_told");
    assert!(told >= pools.len() as u64, "{told} were told");
    let mut answers = 0;
    for pool in pools {
        let (own, errors) = pool.end();
        assert!(errors.is_empty(), "{errors:?}");
        answers += own;
    }
    assert_eq!(member.proxy.client().cmd("GET counter").text(), answers.to_string(), "each was done once");
}

fn drain(pools: impl Fn(u16) -> Option<Vec<Pool>>) {
    let (server, port) = (Server::start(), Port::lease());
    let member = member(&server, port.number());
    let [a, b] = entries(port.number());
    member.wait_for("b", "up");
    let Some(pools) = pools(port.number()) else { return };
    leave(&member, pools, &|more| fleet(port.number(), [&a, &b], more, &member.admin));
}

#[test]
fn a_pool_of_redis_py_leaves_an_entry_without_an_error() {
    drain(|port| Some(vec![Pool::python(HOSTS[0], port, None)?]));
}

/// They are one group to the proxy: one address, one library.
#[test]
fn two_processes_of_node_redis_leave_an_entry_without_an_error() {
    drain(|port| Some(vec![Pool::node(HOSTS[0], port)?, Pool::node(HOSTS[0], port)?]));
}

#[test]
fn over_tls_a_pool_leaves_an_entry_without_an_error_too() {
    let (server, port) = (Server::start(), Port::lease());
    let authority = Authority::new("moving");
    let issued = authority.server("server", &HOSTS);
    let [a, b] = entries(port.number());
    let settings = |more: [&str; 2], admin: &str| {
        let (certificate, key) = (issued.certificate.display(), issued.key.display());
        format!(
            "{}[tls]\nlisten = ['{a}', '{b}']\ncertificate = '{certificate}'\nkey = '{key}'\n",
            fleet(port.number(), [&a, &b], more, admin)
        )
    };
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let member = Member::with(options, |admin| settings([""; 2], admin));
    member.wait_for("b", "up");
    // Whoever tries the entries says that it wants nothing more.
    let metric = |name| member.proxy.metric(name);
    eventually("probes are told from clients", SOON, || (metric("tls_cancelled") >= 4).then_some(()));
    assert_eq!(
        (metric("tls_failed_lost"), metric("tls_failed_refused"), metric("tls_failed_protocol")),
        (0, 0, 0)
    );
    let Some(pool) = Pool::python(HOSTS[0], port.number(), Some(&authority.file)) else { return };
    leave(&member, vec![pool], &|more| settings(more, &member.admin));
}

#[test]
fn connections_become_no_older_than_they_may_without_an_error() {
    let (server, port) = (Server::start(), Port::lease());
    let member = member(&server, port.number());
    let [a, b] = entries(port.number());
    let Some(pool) = Pool::python(HOSTS[0], port.number(), None) else { return };
    let aged =
        format!("clients.max_age = \"1s\"\n{}", fleet(port.number(), [&a, &b], [""; 2], &member.admin));
    member.reload(&aged);
    eventually("twenty were closed", SOON, || (member.proxy.metric("clients_retired") >= 20).then_some(()));
    let (answers, errors) = pool.end();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(member.proxy.client().cmd("GET counter").text(), answers.to_string(), "each was done once");
}

#[test]
fn who_has_something_under_way_stays_for_the_grace_and_late_words_are_not_heard() {
    let (server, port) = (Server::start(), Port::lease());
    let member = member(&server, port.number());
    let [a, b] = entries(port.number());
    let settings = |grace: &str| {
        let fleet = fleet(port.number(), [&a, &b], [""; 2], &member.admin);
        format!("clients.max_age = \"1s\"\nclients.age_grace = \"{grace}\"\n{fleet}")
    };
    let mut within = Raw::connect(&a);
    within.cmd("MULTI");
    within.cmd("INCR counter");
    let mut watches = Raw::connect(&a);
    watches.cmd("WATCH w");
    let mut blocked = Raw::connect(&a);
    blocked.send_line("BLPOP list 0");
    let mut listens = Raw::connect(&a);
    listens.cmd("SUBSCRIBE channel");
    let mut half = Raw::connect(&a);
    half.send_bytes(b"*2\r\n$4\r\nINCR\r\n$4\r\nha");
    let mut idle = Raw::connect(&a);
    assert_eq!(idle.cmd("PING").text(), "PONG");
    member.reload(&settings("1h"));
    assert_eq!(idle.read_to_close(), b"");
    // It was told the end. What it says now is read, and nothing else.
    let _ = idle.try_send_bytes(b"*2\r\n$4\r\nINCR\r\n$4\r\nlate\r\n");
    eventually("the others are old too", SOON, || {
        let info = member.proxy.client().cmd("CLIENT LIST").text();
        let ages = info
            .lines()
            .filter_map(|line| line.split(" age=").nth(1)?.split(' ').next()?.parse::<u64>().ok());
        (ages.filter(|age| *age >= 3).count() >= 4).then_some(())
    });
    assert_eq!(within.cmd("EXEC").items()[0].int(), 1);
    half.send_bytes(b"lf\r\n");
    assert_eq!(half.read().int(), 1);
    let mut other = member.proxy.client();
    other.cmd("PUBLISH channel hello");
    assert_eq!(listens.read().items()[2].text(), "hello");
    other.cmd("RPUSH list x");
    assert_eq!(blocked.read().items()[1].text(), "x");
    assert!(other.cmd("EXISTS late").int() == 0);
    // Behind its grace everybody goes, between two requests.
    member.reload(&settings("1s"));
    for client in [&mut watches, &mut listens] {
        let _ = client.read_to_close();
    }
}

#[test]
fn only_who_asked_for_it_and_speaks_resp3_is_told() {
    let (server, port) = (Server::start(), Port::lease());
    let member = member(&server, port.number());
    let [a, b] = entries(port.number());
    member.wait_for("b", "up");
    let mut old = Raw::connect(&a);
    assert!(old.cmd("CLIENT MAINT_NOTIFICATIONS ON").error().contains("RESP3"));
    let mut told = Raw::speaking(&a, 3);
    for wrong in
        ["", " maybe", " ON moving-endpoint-type", " ON moving-endpoint-type x", " ON other internal-ip"]
    {
        assert!(told.cmd(&format!("CLIENT MAINT_NOTIFICATIONS{wrong}")).is_error(), "{wrong}");
    }
    assert_eq!(told.cmd("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-ip").text(), "OK");
    let mut untold = Raw::speaking(&a, 3);
    assert_eq!(untold.cmd("CLIENT SETINFO lib-name other").text(), "OK");
    untold.cmd("CLIENT MAINT_NOTIFICATIONS ON");
    assert_eq!(untold.cmd("CLIENT MAINT_NOTIFICATIONS OFF").text(), "OK");
    let mut named = Raw::speaking(&a, 3);
    named.cmd("CLIENT SETINFO lib-name nameless");
    named.cmd("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none");
    member.reload(&fleet(port.number(), [&a, &b], ["drain = true", ""], &member.admin));
    told.set_patience(Duration::from_secs(20));
    let push = told.read();
    let words = push.items();
    assert_eq!((words[0].text().as_str(), words[2].int()), ("MOVING", 30));
    assert_eq!(words[3].text(), b);
    named.set_patience(Duration::from_secs(20));
    assert!(String::from_utf8_lossy(&named.read_frame()).ends_with(":30\r\n_\r\n"));
    // They were told; the others are closed.
    for client in [&mut old, &mut untold] {
        assert_eq!(client.read_to_close(), b"");
    }
    assert_eq!(told.cmd("PING").text(), "PONG", "whoever was told leaves when it likes");
}
