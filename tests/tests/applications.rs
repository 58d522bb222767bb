//! Applications of real ecosystems, unmodified, over a cluster through the proxy: job queues, locks, caches, limiters,
//! sessions and pub/sub of Python and Node.

use std::path::Path;
use std::process::Command;

use slotway_tests::cluster::Cluster;
use slotway_tests::installed::{installed, python};
use slotway_tests::namespace::Namespace;
use slotway_tests::proxy::{Options, Proxy};

#[test]
fn applications_of_python_work() {
    all_work(python_applications(), PYTHON, Keys::OfTheCluster);
}

#[test]
fn applications_of_python_work_together_in_a_namespace_without_hash_tags() {
    all_work(python_applications(), PYTHON, Keys::Together);
}

#[test]
fn applications_of_node_work() {
    all_work(node_applications(), NODE, Keys::OfTheCluster);
}

#[test]
fn applications_of_node_work_together_in_a_namespace_without_hash_tags() {
    all_work(node_applications(), NODE, Keys::Together);
}

const PYTHON: &[&str] = &[
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
];

const NODE: &[&str] = &[
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

fn python_applications() -> Option<Command> {
    let mut command = Command::new(python()?);
    command.arg("-B").arg(clients().join("python/applications.py"));
    Some(command)
}

fn node_applications() -> Option<Command> {
    let modules = installed("tests/clients/node/node_modules/bullmq", "bullmq")?;
    let mut command = Command::new("node");
    command.arg(modules.join("../../applications.js"));
    Some(command)
}

/// Where the applications' keys are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    OfTheCluster,
    /// In a tenant's namespace, all in one slot.
    Together,
}

/// Runs the applications of these names, each of which says `NAME: ok`.
#[track_caller]
fn all_work(command: Option<Command>, names: &[&str], keys: Keys) {
    let Some(mut command) = command else { return };
    let cluster = Cluster::start();
    let proxy = match keys {
        Keys::OfTheCluster => Proxy::over(&cluster),
        Keys::Together => {
            command.env("SLOTWAY_TOGETHER", "1");
            let namespace = Namespace::together("apps7x2q");
            namespace.admit(&cluster);
            Options::cluster(&cluster.urls()).config(&namespace.settings("default")).start()
        }
    };
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
