//! The example names every key, and its defaults are the true ones.

use super::*;
use crate::config::file::{CLUSTER_KEYS, KEYS};
use crate::config::fleet_file::{ENTRY_KEYS, FLEET_KEYS};
use crate::config::item::Key;
use crate::config::limit_file::LIMIT_KEYS;
use crate::config::responder_file::{RESPONDER_KEYS, SERVER_KEYS};
use crate::config::tenant_file::{TENANT_KEYS, USER_KEYS};
use crate::config::tls::NAME_KEYS;

const EXAMPLE: &str = include_str!("../../../../deploy/slotway.example.toml");

#[test]
fn the_example_is_valid_and_means_the_defaults() {
    let cores = settings(SEEDS).threads;
    let example = settings(EXAMPLE);
    let mut default = settings(SEEDS);
    default.clusters[0].backend = example.clusters[0].backend.clone();
    assert_eq!((example, cores), (default.clone(), default.threads));
}

/// With the `#` of every setting taken away, and one of each group that excludes each other left.
fn example_with_every_default_written() -> String {
    let setting = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
            .map(str::to_owned)
    };
    EXAMPLE.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// Every key of `keys` stands in the section.
#[track_caller]
fn assert_has<T>(section: &toml::Value, keys: &[Key<T>], name: &str) {
    for key in keys {
        let found = key.path.split('.').try_fold(section, |at, part| at.get(part));
        assert!(found.is_some(), "{name}: {} is missing in the example", key.path);
    }
}

#[test]
fn every_known_key_is_in_the_example() {
    let table: toml::Table =
        example_with_every_default_written().parse().unwrap_or_else(|error| panic!("{error}"));
    let table = toml::Value::Table(table);
    assert_has(&table, KEYS, "top");
    assert_has(&table["cluster"], CLUSTER_KEYS, "cluster");
    assert_has(&table["users"][0], USER_KEYS, "users");
    assert_has(&table["tenants"][0], TENANT_KEYS, "tenants");
    assert_has(&table["tenants"][0]["limits"], LIMIT_KEYS, "tenants.limits");
    assert_has(&table["tls"]["names"][0], NAME_KEYS, "tls.names");
    assert_has(&table["fleet"], FLEET_KEYS, "fleet");
    assert_has(&table["fleet"]["entries"][0], ENTRY_KEYS, "fleet.entries");
    assert_has(&table["fleet"]["responder"], RESPONDER_KEYS, "fleet.responder");
    assert_has(&table["fleet"]["responder"]["nameservers"][0], SERVER_KEYS, "fleet.responder.nameservers");
}

#[test]
fn every_default_in_the_example_is_the_true_one() {
    let text = example_with_every_default_written();
    // What TLS and a fleet need has no defaults; the rest of their sections is compared where they are off.
    let text = ["\n[tls]\n", "\n[cluster.tls]\n", "\n[fleet]\n"].iter().fold(text, |text, section| {
        let start = text.find(section).expect("it is there");
        let end = start + text[start..].find("\n\n\n").expect("another section follows");
        format!("{}{}", &text[..start], &text[end..])
    });

    // These say nothing of a default: they exclude each other, or have none.
    let without = [
        "standalone =",
        "shards =",
        "databases =",
        "user =",
        "password",
        "threads =",
        "servers =",
        "backend.",
    ];
    let text: String = text
        .lines()
        .filter(|line| {
            line.starts_with("passwords_sha256") || !without.iter().any(|name| line.starts_with(name))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut written = settings(&text);
    // The sections that are repeated begin with one of each.
    assert_eq!((written.tenants.len(), written.tenants[0].users.len()), (2, 1));
    assert_eq!((written.clusters.len(), written.clusters[1].name.as_str()), (2, "blue"));
    written.clusters.truncate(1);
    written.tenants.truncate(1);
    written.tenants[0].users.clear();
    assert_eq!(written, settings(EXAMPLE));
}
