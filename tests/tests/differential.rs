//! Differential, generated: random commands of every kind are answered through the proxy over three shards as by one
//! plain server. `grammar/README.md` has the notation of the rows and what may differ.
//!
//! `SLOTWAY_SEEDS=1000` plays so many seeds instead of the usual ones, `SLOTWAY_SEED=7` that one. A difference is
//! shown with the few commands that bring it about.

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use slotway_tests::cluster::Cluster;
use slotway_tests::duel::{Difference, Duel, line, name};
use slotway_tests::generate::excuse::Excuses;
use slotway_tests::generate::grammar::{Row, rows};
use slotway_tests::generate::scripts::SCRIPTS;
use slotway_tests::generate::shrink::shrunk;
use slotway_tests::generate::unit::{COMPOSED, Generator, Unit};
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

/// Units of a seed; most are one command. After each batch of them all that both sides hold is compared.
const BATCHES: usize = 5;
const BATCH: usize = 160;

/// Seeds where the environment names none: about 10,000 commands a protocol.
const SEEDS: u64 = 12;

/// Replays to find the few commands that make a difference, and differences that are shown.
const TRIES: usize = 400;
const SHOWN: usize = 5;

#[test]
fn generated_commands_answer_as_a_plain_server() {
    // Timeouts of blocked clients are looked for as often as `hz` says.
    let server = Server::with(Kind::usual(), &[("hz", "500")]);
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let (rows, excuses) = (rows_of(&server), Excuses::read());
    let mut answered = BTreeMap::new();
    // One of each command: what is broken there may be met often.
    let mut shown = BTreeMap::new();
    for (seed, protocol) in seeds().into_iter().flat_map(|seed| [(seed, 2), (seed, 3)]) {
        let mut duel = Duel::new(&server.addr(), &proxy.addr(), protocol);
        let generator = Generator::new(&rows, &excuses, seed);
        if let Some((played, difference)) = fight(&mut duel, generator) {
            shown
                .entry(name(&difference.step.command))
                .or_insert_with(|| explain(seed, protocol, &played, difference, &mut duel));
        }
        for (name, counts) in duel.answered {
            let all: &mut [usize; 2] = answered.entry(name).or_default();
            counts.into_iter().zip(all).for_each(|(count, all)| *all += count);
        }
        if shown.len() >= SHOWN {
            break;
        }
    }
    let text: Vec<String> = shown.into_values().collect();
    assert!(text.is_empty(), "{} differ:\n\n{}", text.len(), text.join("\n\n"));
    println!("errors and other replies of the server: {answered:?}");
    every_row_means_something(&rows, &answered);
}

/// Plays a seed's commands up to the first difference; gives that and what was played.
fn fight(duel: &mut Duel, mut generator: Generator<'_>) -> Option<(Vec<Unit>, Difference)> {
    let mut played = Vec::new();
    let mut difference = duel.reset();
    for _ in 0..BATCHES {
        let batch: Vec<Unit> = (0..BATCH).map(|_| generator.unit()).collect();
        difference = difference.or_else(|| duel.play(&batch)).or_else(|| duel.census());
        played.extend(batch);
        if let Some(difference) = difference {
            return Some((played, difference));
        }
    }
    None
}

/// A grammar whose commands are all errors would compare nothing.
#[track_caller]
fn every_row_means_something(rows: &[Row], answered: &BTreeMap<String, [usize; 2]>) {
    if env::var_os("SLOTWAY_SEED").is_some() {
        return;
    }
    let names: BTreeSet<&str> =
        rows.iter().map(|row| row.name.split('|').next().unwrap_or_default()).collect();
    let mute: Vec<_> =
        names.into_iter().filter(|name| answered.get(*name).is_none_or(|[_, good]| *good == 0)).collect();
    assert!(mute.is_empty(), "never answered without an error: {mute:?}");
}

#[test]
fn every_data_command_has_a_grammar_or_an_excuse() {
    let server = Server::start();
    let excuses = Excuses::read();
    let rows = rows();
    let written: BTreeSet<&str> = rows.iter().map(|row| &*row.name).chain(COMPOSED.iter().copied()).collect();
    let groups = groups(&mut server.client());
    assert!(groups.len() > 300, "only {} commands", groups.len());
    let data = groups.iter().filter(|(_, group)| !OTHERS.contains(&group.as_str()));
    let lacking: Vec<_> = data
        .filter(|(name, _)| !written.contains(name.as_str()) && !excuses.never.contains_key(*name))
        .collect();
    assert!(lacking.is_empty(), "neither in tests/grammar/*.txt nor in its excused.txt: {lacking:?}");
    let both: Vec<_> = excuses.never.keys().filter(|name| written.contains(name.as_str())).collect();
    assert!(both.is_empty(), "excused, and with a grammar: {both:?}");
    // A script is called by its hash too.
    let mut client = server.client();
    for (script, hash) in &SCRIPTS[..SCRIPTS.len() - 1] {
        assert_eq!(client.call(&["SCRIPT", "LOAD", script]).text(), *hash, "{script}");
    }
}

/// Groups of commands that are not about data: of the connection and of the server, which is the proxy here.
const OTHERS: &[&str] = &["server", "connection", "cluster", "pubsub", "sentinel"];

/// The group of every command and subcommand that `client`'s server has.
fn groups(client: &mut Raw) -> BTreeMap<String, String> {
    fn collect(docs: &Value, found: &mut BTreeMap<String, String>) {
        for pair in docs.items().chunks_exact(2) {
            found.insert(pair[0].text(), pair[1].field("group").text());
            if let Some(at) = pair[1].items().iter().position(|item| item.text() == "subcommands") {
                collect(&pair[1].items()[at + 1], found);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&client.cmd("COMMAND DOCS"), &mut found);
    found
}

/// The rows of commands that the server has. Others are an error everywhere, and would only take their place.
fn rows_of(server: &Server) -> Vec<Row> {
    let known = groups(&mut server.client());
    rows().into_iter().filter(|row| known.contains_key(&row.name)).collect()
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        let text = env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let one = number("SLOTWAY_SEED").map(|seed| vec![seed]);
    one.unwrap_or_else(|| (1..=number("SLOTWAY_SEEDS").unwrap_or(SEEDS)).collect())
}

/// What a person needs to see of a difference: both replies, the few commands that lead there, how to see it again.
fn explain(seed: u64, protocol: u8, played: &[Unit], found: Difference, duel: &mut Duel) -> String {
    // Of the prefix first: what came behind the difference in its batch has nothing to do with it.
    let few = shrunk(played, TRIES, |part| duel.replay(part).is_some());
    let again = duel.replay(&few);
    let (few, found) = again.map_or((&[][..], found), |again| (&few[..], again));
    let steps = few.iter().flat_map(|unit| &unit.0);
    let script: String =
        steps.map(|step| format!("    client {}: {}\n", step.client, line(&step.command))).collect();
    format!(
        "seed {seed}, RESP{protocol}: {}\n  server {}\n  proxy  {}\n  the commands (none where a replay has no difference):\n{script}  \
         again: SLOTWAY_SEED={seed} cargo nextest run -p slotway-tests --test differential generated",
        line(&found.step.command),
        found.expected.escape_ascii(),
        found.got.escape_ascii(),
    )
}
