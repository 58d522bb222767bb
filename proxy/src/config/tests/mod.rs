//! What a file and flags become, and that every mistake is told.

mod backend;
mod example;
mod fleet;
mod tenants;

use std::net::SocketAddr;
use std::time::Duration;

use super::error::{ConfigError, ConfigErrors, Place};
use super::settings::{BackendKind, LogFormat, ReadFrom, Settings};
use super::url::UrlError;
use super::written::Written;

const SEEDS: &str = "cluster.seeds = ['redis://a:7000']\n";

fn read(text: &str) -> Result<Settings, ConfigErrors> {
    let mut written = Written::default();
    written.read_text("f.toml", text);
    written.check()
}

fn settings(text: &str) -> Settings {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> Vec<ConfigError> {
    read(text).unwrap_err().0
}

fn error(text: &str) -> ConfigError {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

fn said(text: &str) -> String {
    error(text).to_string()
}

fn place(line: usize) -> Place {
    Place { source: "f.toml".into(), line: Some(line) }
}

#[test]
fn a_backend_is_all_that_must_be_written() {
    let settings = settings(SEEDS);
    assert_eq!(settings.listen, ["127.0.0.1:6379".parse().unwrap()]);
    assert_eq!(settings.admin, None);
    assert!(settings.threads >= 1);
    assert_eq!(settings.clients.max_clients, 10_000);
    assert_eq!(settings.clusters[0].command_timeout, Duration::from_secs(5));
    let BackendKind::Cluster { seeds } = &settings.clusters[0].backend else { panic!("a cluster") };
    assert_eq!(seeds[0].to_string(), "a:7000");
}

#[test]
fn every_key_lands_in_its_setting() {
    let settings = settings(
        r#"
        listen = ["0.0.0.0:1", "[::]:1"]
        admin = "127.0.0.1:2"
        threads = 3
        grace_period = "0s"
        [clients]
        max_clients = 1_000
        idle_timeout = "1h"
        keepalive = "off"
        max_bulk = "1MiB"
        max_request = 2097152
        [[users]]
        name = "app"
        passwords_sha256 = ["5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"]
        [[users]]
        nopass = true
        [cluster]
        shards = ["redis://a", "redis://b"]
        databases = 4
        user = "u"
        password = "p"
        reconnect_backoff_min = "1ms"
        [dns]
        servers = ["10.0.0.2", "[fd00::2]:5353"]
        [log]
        filter = "warn,slotway::cluster=debug"
        format = "journal"
        "#,
    );
    assert_eq!(settings.listen, ["0.0.0.0:1", "[::]:1"].map(|at| at.parse::<SocketAddr>().unwrap()));
    assert_eq!(settings.admin, Some("127.0.0.1:2".parse().unwrap()));
    assert_eq!((settings.threads, settings.grace_period), (3, Duration::ZERO));
    assert_eq!(settings.clients.max_clients, 1_000);
    assert_eq!(settings.clients.idle_timeout, Some(Duration::from_secs(3_600)));
    assert_eq!(settings.clients.keepalive, None);
    assert_eq!((settings.clients.max_bulk_bytes, settings.clients.max_request_bytes), (1 << 20, 2 << 20));
    assert_eq!(
        (settings.tenants[0].users[0].name.as_str(), settings.tenants[0].users[0].passwords[0][0]),
        ("app", 0x5e)
    );
    assert_eq!(
        (settings.tenants[0].users[1].name.as_str(), settings.tenants[0].users[1].passwords.len()),
        ("default", 0)
    );
    let BackendKind::Shards { endpoints, databases } = &settings.clusters[0].backend else {
        panic!("shards")
    };
    assert_eq!((endpoints.len(), *databases), (2, 4));
    assert_eq!(settings.clusters[0].user.as_deref(), Some("u"));
    assert_eq!(settings.clusters[0].password.clone().unwrap().reveal(), "p");
    assert_eq!(settings.clusters[0].reconnect_backoff.0, Duration::from_millis(1));
    assert_eq!(
        settings.dns.servers,
        ["10.0.0.2:53", "[fd00::2]:5353"].map(|at| at.parse::<SocketAddr>().unwrap())
    );
    assert_eq!(settings.log.filter, "warn,slotway::cluster=debug");
    assert_eq!(settings.log.format, LogFormat::Journal);
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_their_lines() {
    let errors = read(
        "threads = 0\n\
         lisen = ['127.0.0.1:1']\n\
         [clients]\n\
         max_clients = 'many'\n\
         max_bulk = '1 MiB'\n\
         colour = 'red'\n\
         [cluster]\n\
         seeds = ['redis://a', 'tls://b', 'redis://u:hush@c:x']\n\
         command_timeout = 5\n\
         [closter]\n\
         [dns]\n\
         min_ttl = '2m'\n",
    )
    .unwrap_err();
    let said = errors.to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "f.toml:1: threads is 0, must be a whole number from 1 to 1024");
    assert_eq!(
        lines[1],
        "f.toml:2: unknown key lisen, known here: listen, admin, threads, grace_period, leave_delay, takeover, takeover_timeout, reload, clients, tls, users, tenants, private, cluster, clusters, fleet, dns, log"
    );
    assert_eq!(
        lines[2],
        "f.toml:4: clients.max_clients is \"many\", must be a whole number from 1 to 10000000"
    );
    assert_eq!(lines[3], "f.toml:5: clients.max_bulk is \"1 MiB\", must be a size from \"1KiB\" to \"1GiB\"");
    assert!(lines[4].starts_with("f.toml:6: unknown key clients.colour, known here: max_clients, backlog,"));
    assert_eq!(lines[5], "f.toml:8: cluster.seeds[1] is \"tls://b\": must start with redis:// or rediss://");
    assert_eq!(
        lines[6],
        "f.toml:8: cluster.seeds[2] is \"redis://***@c:x\": the port must be a number from 1 to 65535"
    );
    assert_eq!(
        lines[7],
        "f.toml:9: cluster.command_timeout is 5, must be a duration from \"10ms\" to \"1h\""
    );
    assert!(lines[8].starts_with("f.toml:10: unknown key closter, known here: listen,"));
    assert_eq!(lines[9], "dns.min_ttl is 2m, must not be above dns.max_ttl, which is 1m");
    assert_eq!(lines.len(), 10);
}

#[test]
fn mistakes_in_the_toml_itself_do_not_hide_the_others() {
    let errors = errors("threads = \nadmin = 5\nlisten = ['x'\n[cluster]\nseeds = ['redis://a']\n");
    assert!(
        errors
            .iter()
            .any(|error| matches!(error, ConfigError::Syntax { place, .. } if place.line == Some(1)))
    );
    assert!(errors.iter().any(|error| matches!(error, ConfigError::BadValue { key, .. } if key == "admin")));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let mut written = Written::default();
    written.read_file("/nonexistent/slotway.toml".as_ref());
    let errors = written.check().unwrap_err();
    assert!(matches!(&errors.0[0], ConfigError::Unreadable { .. }));
    assert!(errors.to_string().starts_with("/nonexistent/slotway.toml: cannot be read: No such file"));
}

#[test]
fn a_wrong_type_is_a_bad_value() {
    for (text, said_is) in [
        ("listen = '127.0.0.1:1'", "listen is \"127.0.0.1:1\", must be a list"),
        ("listen = []", "listen is a list, must be a list of at least one"),
        ("listen = ['localhost:1']", "listen[0] is \"localhost:1\", must be an address and a port such as"),
        ("clients = 5", "clients is 5, must be a section"),
        ("threads = 1.5", "threads is 1.5, must be a whole number"),
        ("threads = 99999999999999999999", "threads is 99999999999999999999, must be a whole number"),
        ("admin = true", "admin is true, must be an address"),
        ("admin = 'x'", "such as \"127.0.0.1:6379\" or \"[::]:6379\", or \"off\""),
        ("log.filter = 'inf0'", "log.filter is \"inf0\", must be off, error, warn,"),
        ("log.format = 'json'", "log.format is \"json\", must be \"text\" or \"journal\""),
        ("dns.servers = ['ns1']", "dns.servers[0] is \"ns1\", must be an IP address"),
        ("users = ['x']", "users[0] is \"x\", must be a section"),
    ] {
        let said = errors(&format!("{text}\n{SEEDS}"))[0].to_string();
        assert!(said.contains(said_is), "{said}");
    }
}

#[test]
fn an_address_stands_once_among_listen_and_admin() {
    let address = || "127.0.0.1:1".to_owned();
    let text = format!("listen = ['127.0.0.1:1', '127.0.0.1:1']\n{SEEDS}");
    assert_eq!(error(&text), ConfigError::DuplicateAddress { key: "listen", address: address() });
    let text = format!("listen = ['127.0.0.1:1']\nadmin = '127.0.0.1:1'\n{SEEDS}");
    assert_eq!(error(&text), ConfigError::DuplicateAddress { key: "admin", address: address() });
    settings(&format!("listen = ['127.0.0.1:0', '127.0.0.1:0']\n{SEEDS}"));
}

#[test]
fn a_lower_limit_is_not_above_its_upper_one() {
    for (text, said_is) in [
        ("dns.min_ttl = '2m'", "dns.min_ttl is 2m, must not be above dns.max_ttl, which is 1m"),
        ("cluster.refresh_min_interval = '1m'", "above cluster.refresh_interval, which is 10s"),
        ("cluster.reconnect_backoff_min = '3s'", "above cluster.reconnect_backoff_max, which is 2s"),
        ("cluster.connect_timeout = '6s'", "above cluster.command_timeout, which is 5s"),
        (
            "clients.max_bulk = '1GiB'\nclients.max_request = '1MiB'",
            "clients.max_bulk is 1GiB, must not be above",
        ),
        ("clients.reply_limit = '64KiB'", "above clients.reply_limit, which is 64KiB"),
    ] {
        let error = error(&format!("{text}\n{SEEDS}"));
        assert!(matches!(error, ConfigError::Order { .. }), "{error:?}");
        assert!(error.to_string().contains(said_is), "{error}");
    }
}

#[test]
fn secrets_are_in_no_debug_output_and_no_error() {
    let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    let text =
        format!("{SEEDS}cluster.password = 'hush'\n[[users]]\nname = 'a'\npasswords_sha256 = ['{hash}']");
    let mut written = Written::default();
    written.read_text("f.toml", &text);
    assert!(!format!("{written:?}").contains("hush"));
    let settings = written.check().unwrap();
    let shown = format!("{settings:?} {settings}");
    assert!(!shown.contains("hush") && !shown.contains("5e88") && !shown.contains("94, 136"), "{shown}");

    for text in [
        "cluster.pasword = 'hush'",
        "cluster.password = ['hush']",
        "cluster.password = \"hush",
        "cluster.password = hush",
        "cluster.password = 'hush'\ncluster.password = 'hush'",
        "cluster.seeds = ['redis://u:hush@h:x']",
        "cluster.seeds = ['hush@h']",
        "cluster.seeds = 'redis://:hush@h'",
        "cluster.standalone = ['redis://:hush@h']",
        "cluster.seeds = ['redis://:hush@a', 'redis://:hush2@b']",
        "users = [{ name = 'a', passwords_sha256 = ['hush'] }]",
        "users = [{ name = 'a', passwords_sha256 = 'hush' }]",
        "users = [{ name = 'a', password = 'hush' }]",
    ] {
        let errors = read(text).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hush"), "{errors}");
    }
}

#[test]
fn flags_override_the_file() {
    let mut written = Written::default();
    written.read_text("f.toml", "threads = 2\nlisten = ['127.0.0.1:1']\ncluster.standalone = 'redis://:p@a'");
    written.set_texts("--listen", "listen", &["127.0.0.1:2".to_owned()]);
    written.set_any("--threads", "threads", "8");
    written.set_any("--set", "log.filter", "debug");
    written.forget_backend();
    written.set_texts("--cluster", "cluster.seeds", &["redis://b".to_owned()]);
    let settings = written.check().unwrap();
    assert_eq!((settings.listen[0].port(), settings.threads), (2, 8));
    assert_eq!(settings.log.filter, "debug");
    assert!(matches!(settings.clusters[0].backend, BackendKind::Cluster { .. }));
    assert_eq!(settings.clusters[0].password, None);
}

#[test]
fn mistakes_in_flags_name_the_flag() {
    let mut written = Written::default();
    written.read_text("f.toml", SEEDS);
    written.set_any("--threads", "threads", "no");
    written.set_any("--set", "no.such", "1");
    let errors = written.check().unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines[0], "--threads: threads is \"no\", must be a whole number from 1 to 1024");
    assert!(lines[1].starts_with("--set: unknown key no, known here: listen, admin,"));
}

#[test]
fn names_that_need_quotes_and_long_values_are_shown_safely() {
    let said = said(&format!("{SEEDS}\"a.b\\n\" = 1"));
    assert!(said.contains("unknown key \"a.b\\n\", known here"), "{said}");
    let error = error(&format!("threads = '{}'\n{SEEDS}", "é".repeat(1_000)));
    assert!(error.to_string().len() < 250, "{error}");
}
