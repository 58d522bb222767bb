//! Applications of real ecosystems, unmodified, over a cluster through the proxy: job queues, locks, caches, limiters,
//! sessions and pub/sub of Python and Node.

use std::path::Path;
use std::process::Command;

use slotway_tests::cluster::Cluster;
use slotway_tests::installed::{installed, python};
use slotway_tests::proxy::Proxy;

#[test]
fn applications_of_python_work() {
    let Some(python) = python() else { return };
    let mut command = Command::new(python);
    command.arg("-B").arg(clients().join("python/applications.py"));
    all_work(
        &mut command,
        &[
            "rq",
            "celery",
            "aiocache",
            "dramatiq",
            "huey",
            "limits",
            "locks",
            "cachelib",
            "pubsub",
            "cluster_clients",
            "asyncio_clients",
        ],
    );
}

#[test]
fn applications_of_node_work() {
    let Some(modules) = installed("tests/clients/node/node_modules/bullmq", "bullmq") else { return };
    let mut command = Command::new("node");
    command.arg(modules.join("../../applications.js"));
    let names = [
        "bullmq",
        "beeQueue",
        "redlock",
        "rateLimiter",
        "expressStores",
        "keyv",
        "socketio",
        "pubsub",
        "clusterClients",
    ];
    all_work(&mut command, &names);
}

/// Runs the applications of these names, each of which says `NAME: ok`.
#[track_caller]
fn all_work(command: &mut Command, names: &[&str]) {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let output =
        command.args(names).env("SLOTWAY_ADDR", proxy.addr()).output().expect("a client that starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    let wanted: Vec<String> = names.iter().map(|name| format!("{name}: ok")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{errors}");
}

fn clients() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients"))
}
