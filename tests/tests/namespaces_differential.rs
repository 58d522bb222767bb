//! A tenant whose keys are together is answered as by a plain server of its own: random commands of every kind, over
//! any of its keys, none of which is excused for being about several slots. One whose keys are spread is answered as
//! clients without a namespace are. The notation is `grammar/README.md`'s.
//!
//! `SLOTWAY_SEEDS=100` plays so many seeds instead of the usual ones, `SLOTWAY_SEED=7` that one.

use std::env;

use slotway::command::facts::Facts;
use slotway::command::reviewed::InNamespace;
use slotway::command::spec::{Flags, Spec};
use slotway_tests::cluster::Cluster;
use slotway_tests::duel::{Difference, Duel, line};
use slotway_tests::generate::excuse::Excuses;
use slotway_tests::generate::grammar::{Row, rows};
use slotway_tests::generate::shrink::shrunk;
use slotway_tests::generate::unit::{Generator, Unit};
use slotway_tests::mark::Mark;
use slotway_tests::namespace::Namespace;
use slotway_tests::proxy::Options;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

/// Units of a seed; most are one command.
const UNITS: usize = 600;

/// Replays to find the few commands that make a difference.
const TRIES: usize = 300;

const ANN: Namespace = Namespace { id: "ann4x9q2", together: false };
const BOB: Namespace = Namespace { id: "bob7k1z8", together: true };

#[test]
fn a_tenant_whose_keys_are_together_is_answered_as_by_a_server_of_its_own() {
    // Valkey's nodes take SORT's patterns within a slot.
    for kind in [Kind::usual(), Kind::Valkey] {
        if !kind.is_installed() {
            continue;
        }
        let server = Server::with(kind, &[("hz", "500")]);
        let mut rows = served(&server);
        rows.retain(|row| !row.refused || (kind == Kind::Valkey && row.name.starts_with("sort")));
        for row in &mut rows {
            // Patterns want the right to read every key, which a tenant's user, as whom transactions run, has not.
            row.alone |= row.refused;
            (row.together, row.refused) = (false, false);
        }
        let mut excuses = excuses();
        excuses.one_slot.clear();
        excuses.queued.clear();
        fight(kind, &server, BOB, (&rows, &excuses));
    }
}

/// With the excuses of any client of a cluster.
#[test]
fn a_tenant_whose_keys_are_spread_is_answered_as_others_are() {
    let server = Server::with(Kind::usual(), &[("hz", "500")]);
    fight(Kind::usual(), &server, ANN, (&served(&server), &excuses()));
}

/// Says the same to `server` and, from within `namespace`, to a proxy over a cluster.
#[track_caller]
fn fight(kind: Kind, server: &Server, namespace: Namespace, (rows, excuses): (&[Row], &Excuses)) {
    let cluster = Cluster::with(kind, 3, 0);
    namespace.admit(&cluster);
    let config = format!("[[users]]\nname = \"default\"\nnopass = true\n{}", namespace.settings("ann"));
    let proxy = Options::cluster(&cluster.urls()).config(&config).start();
    for (seed, protocol) in seeds().into_iter().flat_map(|seed| [(seed, 2), (seed, 3)]) {
        let mut duel = Duel::as_user(&server.addr(), &proxy.addr(), protocol, Some("ann"));
        let mut generator = Generator::new(rows, excuses, seed);
        let units: Vec<Unit> = (0..UNITS).map(|_| generator.unit()).collect();
        if let Some(difference) = duel.replay(&units) {
            panic!("{kind:?}, seed {seed}, RESP{protocol}: {}", explain(&units, difference, &mut duel));
        }
    }
}

/// What a namespace has beside the usual excuses.
fn excuses() -> Excuses {
    let mut excuses = Excuses::read();
    for name in ["sort", "sort_ro", "copy"] {
        let why = "read strictly: what is wrong is refused when it is queued, by a server when it runs";
        excuses.unspoiled.insert(name.to_owned(), why.to_owned());
    }
    excuses.never.insert("script|flush".to_owned(), "refused in a namespace".to_owned());
    excuses
}

/// The rows of commands that the server has and a namespace is served.
fn served(server: &Server) -> Vec<Row> {
    let known = |name: &str| {
        let reply = server.client().call(&["COMMAND", "INFO", name]);
        reply.items()[0] != Value::Nil
    };
    let in_namespace = |name: &str| Spec::new(name, -1, Flags::NONE, Facts::default()).in_namespace;
    let is_served = |row: &Row| matches!(in_namespace(&row.name), InNamespace::Served { .. });
    let mut rows: Vec<Row> = rows().into_iter().filter(is_served).filter(|row| known(&row.name)).collect();
    // A script has the proxy's words in front of its own, which errors tell of.
    for row in rows.iter_mut().filter(|row| row.name.starts_with("eval") && row.mark == Mark::Exact) {
        row.mark = Mark::ErrorCode;
    }
    assert!(rows.len() > 200, "only {} rows", rows.len());
    rows
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let one = number("SLOTWAY_SEED").map(|seed| vec![seed]);
    one.unwrap_or_else(|| (1..=number("SLOTWAY_SEEDS").unwrap_or(4)).collect())
}

/// What a person needs to see of a difference: both replies, and the few commands that lead there.
fn explain(units: &[Unit], found: Difference, duel: &mut Duel) -> String {
    let few = shrunk(units, TRIES, |part| duel.replay(part).is_some());
    let found = duel.replay(&few).unwrap_or(found);
    let steps = few.iter().flat_map(|unit| &unit.0);
    let script: String =
        steps.map(|step| format!("    client {}: {}\n", step.client, line(&step.command))).collect();
    format!(
        "{}\n  server {}\n  proxy  {}\n{script}",
        line(&found.step.command),
        found.expected.escape_ascii(),
        found.got.escape_ascii()
    )
}
