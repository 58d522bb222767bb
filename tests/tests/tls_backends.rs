//! TLS to the backends, beside TLS and plain text from clients.

use std::path::Path;
use std::process::Command;

use slotway_tests::certs::{Authority, Who};
use slotway_tests::cluster::Cluster;
use slotway_tests::installed::{installed, python};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, answered};
use slotway_tests::server::{Kind, Server};
use slotway_tests::tls_entry::{Entry, SEEN};
use slotway_tests::value::Value;

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
