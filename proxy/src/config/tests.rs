//! What a file and flags become, and that every mistake is told.

use std::net::SocketAddr;
use std::time::Duration;

use super::error::{ConfigError, ConfigErrors, Place};
use super::file::{CLUSTER_KEYS, KEYS};
use super::fleet_file::{ENTRY_KEYS, FLEET_KEYS};
use super::item::Key;
use super::limit_file::LIMIT_KEYS;
use super::responder_file::{RESPONDER_KEYS, SERVER_KEYS};
use super::settings::{BackendKind, LogFormat, ReadFrom, Settings};
use super::tenant_file::{TENANT_KEYS, USER_KEYS};
use super::tls::NAME_KEYS;
use super::url::UrlError;
use super::written::Written;

const EXAMPLE: &str = include_str!("../../../deploy/slotway.example.toml");

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
fn exactly_one_kind_of_backend_must_be_written() {
    assert_eq!(error(""), ConfigError::NoBackend);
    for (text, first, second) in [
        ("seeds = ['redis://a']\nstandalone = 'redis://a'", "cluster.seeds", "cluster.standalone"),
        ("seeds = ['redis://a']\nshards = ['redis://a']", "cluster.seeds", "cluster.shards"),
        ("standalone = 'redis://a'\nshards = ['redis://a']", "cluster.standalone", "cluster.shards"),
        ("seeds = ['redis://a']\ndatabases = 2", "cluster.seeds", "cluster.databases"),
    ] {
        let (first, second) = (first.to_owned(), second.to_owned());
        assert_eq!(error(&format!("[cluster]\n{text}")), ConfigError::Conflict { first, second });
    }
}

#[test]
fn only_a_clusters_replicas_can_be_read_from() {
    let cluster = settings(&format!("{SEEDS}cluster.read_from = 'nearest'\ncluster.max_replica_lag = 'off'"));
    assert_eq!(
        (cluster.clusters[0].read_from, cluster.clusters[0].max_replica_lag),
        (ReadFrom::Nearest, None)
    );
    let alone = "cluster.standalone = 'redis://a'\ncluster.read_from = ";
    assert_eq!(settings(&format!("{alone}'primary'")).clusters[0].read_from, ReadFrom::Primary);
    assert_eq!(
        said(&format!("{alone}'replica'")),
        "cluster.read_from is \"replica\", must be \"primary\" with cluster.standalone: its replicas are not known"
    );
    let errors = errors("threads = 0\ncluster.shards = ['redis://a']\ncluster.read_from = 'nearest'");
    assert!(
        matches!(
            &errors[..],
            [
                ConfigError::BadValue { .. },
                ConfigError::NoReplicas { value: ReadFrom::Nearest, backend, .. }
            ] if backend == "cluster.shards"
        ),
        "{errors:?}"
    );
    let wrong = said(&format!("{SEEDS}cluster.read_from = 'any'"));
    assert!(wrong.ends_with("must be \"primary\", \"replica\" or \"nearest\""), "{wrong}");
}

#[test]
fn a_backend_written_wrongly_is_not_also_missing() {
    let reason = UrlError::Scheme;
    let (key, value) = ("cluster.standalone".to_owned(), "\"a\"".to_owned());
    assert_eq!(
        error("cluster.standalone = 'a'"),
        ConfigError::BadUrl { place: place(1), key, value, reason }
    );
}

#[test]
fn tenants_have_users_namespaces_and_rules() {
    let settings = settings(&format!(
        "{SEEDS}[[users]]\nname = 'ops'\nnopass = true\n\
         [[tenants]]\nname = 'shop'\nnamespace = 'k3m9x2ab'\nplacement = 'together'\ndatabases = 3\n\
         commands = '+@all -@dangerous'\n[[tenants.users]]\nname = 'shop'\nnopass = true\n\
         [[tenants]]\nname = 'default'\ncommands = '+@read'\n"
    ));
    let [default, shop] = settings.tenants.as_slice() else { panic!("two tenants") };
    assert_eq!((default.name.as_str(), default.users[0].name.as_str()), ("default", "ops"));
    assert!(default.commands.is_some() && default.namespace.is_none());
    let namespace = shop.namespace.expect("a namespace");
    assert_eq!((namespace.id.as_str(), namespace.databases), ("k3m9x2ab", 3));
    assert_eq!(
        shop.to_string(),
        "shop: users shop; namespace k3m9x2ab together, databases 3; commands by rules"
    );
}

#[test]
fn what_is_wrong_with_a_tenant_is_told() {
    for (text, reason) in [
        ("[[tenants]]\n", "tenants[0] has no name"),
        ("[[tenants]]\nname = 'a b'\n", "tenants[0].name is \"a b\", must be a name of 1 to 64"),
        ("[[tenants]]\nname = 'a'\nnamespace = 'shop'\n", "must be 8 characters of a-z and 0-9"),
        ("[[tenants]]\nname = 'a'\ndatabases = 2\n", "tenants[0] has databases without namespace"),
        ("[[tenants]]\nname = 'a'\ncommands = '+gte'\n", "tenants[0].commands: \"+gte\" is no command"),
        ("[[tenants]]\nname = 'a'\n[[tenants]]\nname = 'a'\n", "the name \"a\" stands more than once"),
        (
            "[[tenants]]\nname = 'a'\nnamespace = '12345678'\n[[tenants]]\nname = 'b'\nnamespace = '12345678'\n",
            "the namespace \"12345678\" stands more than once",
        ),
        (
            "[[users]]\nname = 'u'\nnopass = true\n[[tenants]]\nname = 'a'\n[[tenants.users]]\nname = 'u'\nnopass = true\n",
            "users: the name \"u\" stands more than once in all tenants",
        ),
    ] {
        let said = said(&format!("{SEEDS}{text}"));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_tenants_backend_user_is_whole_and_one_tenants() {
    let tenant = |name: &str, more: &str| format!("[[tenants]]\nname = '{name}'\n{more}\n");
    let user = "backend = { user = 'u', password = 'hidden' }";
    let shop = &settings(&format!("{SEEDS}{}", tenant("shop", user))).tenants[1];
    assert!(shop.to_string().ends_with("backend user u, connections shared"), "{shop}");
    assert!(!format!("{shop:?}").contains("hidden"));
    for (text, reason) in [
        (tenant("a", "backend.user = 'u'"), "tenants[0] has backend.user without password"),
        (tenant("a", "backend.password = 'hidden'"), "a backend password without backend.user"),
        (tenant("a", "connections = 'own'"), "connections = \"own\" without backend.user"),
        (
            tenant("a", "backend = { user = 'u', password = 'hidden', password_env = 'X' }"),
            "more than one of",
        ),
        (tenant("a", "backend = { user = 'u', password_env = 'SLOTWAY_NOT_SET' }"), "SLOTWAY_NOT_SET"),
        (tenant("a", "backend = { user = 'a b', password = 'hidden' }"), "backend.user is \"a b\", must be"),
        (tenant("a", "backend = { user = 'u', password = 7 }"), "backend.password is (hidden), must be"),
        (tenant("a", &format!("connections = 'mine'\n{user}")), "must be \"shared\" or \"own\""),
        (
            tenant("a", user) + &tenant("b", &format!("namespace = '12345678'\n{user}")),
            "the backend user \"u\" is of more than one tenant",
        ),
        (
            tenant("a", "listen = ['127.0.0.1:7']") + &tenant("b", "listen = ['127.0.0.1:7']"),
            "tenants.listen: the address 127.0.0.1:7 stands more than once",
        ),
    ] {
        let said = said(&format!("{SEEDS}{text}"));
        assert!(said.contains(reason) && !said.contains("hidden'"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn further_clusters_have_the_keys_of_the_first() {
    let settings = settings(&format!(
        "{SEEDS}[clusters.red]\nstandalone = 'redis://u:p@r'\ndatabases = 2\n\
         [clusters.blue]\nseeds = ['redis://b']\ncommand_timeout = '1s'\n\
         [[tenants]]\nname = 'shop'\ncluster = 'red'\n"
    ));
    let names: Vec<&str> = settings.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["default", "blue", "red"]);
    assert_eq!(settings.clusters[1].command_timeout, Duration::from_secs(1));
    assert_eq!(settings.clusters[2].user.as_deref(), Some("u"));
    let clusters: Vec<&str> = settings.tenants.iter().map(|tenant| tenant.cluster.as_str()).collect();
    assert_eq!(clusters, ["default", "red"]);
    let shown = settings.to_string();
    assert!(shown.contains("cluster   red\nbackend   one server, r:6379, 2 databases"), "{shown}");
    assert!(shown.contains("tenant    shop: no users; cluster red"), "{shown}");
}

#[test]
fn the_default_cluster_is_needed_only_by_those_who_use_it() {
    let named = "[clusters.red]\nstandalone = 'redis://r'\n";
    let user = "users = [{ nopass = true }]\n";
    let alone = settings(&format!("{named}[[tenants]]\nname = 'a'\ncluster = 'red'\n{user}"));
    assert_eq!((alone.tenants.len(), alone.clusters.len()), (1, 1));
    let own = settings(&format!("{named}[[tenants]]\nname = 'default'\ncluster = 'red'\n"));
    assert_eq!(own.tenants[0].cluster, "red");
    let unknown = "tenants: the cluster of default is \"default\", must be one of: red";
    assert_eq!(said(named), unknown);
    assert_eq!(said(&format!("{user}{named}")), unknown);
    assert_eq!(
        said(&format!("{SEEDS}{named}[[tenants]]\nname = 'a'\ncluster = 'green'\n")),
        "tenants: the cluster of a is \"green\", must be one of: default, red"
    );
}

#[test]
fn mistakes_in_further_clusters_name_their_section() {
    for (text, reason) in [
        ("clusters = 1\n", "clusters is 1, must be a section of named sections"),
        ("[clusters.default]\n", "clusters.default must be called by 1 to 64"),
        ("[clusters.'a b']\n", "clusters.\"a b\" must be called by 1 to 64"),
        ("[clusters.red]\n", "clusters.red has no backend"),
        ("[clusters.red]\nseed = 'x'\n", "unknown key clusters.red.seed, known here: seeds,"),
        (
            "[clusters.red]\nseeds = ['redis://a']\nshards = ['redis://a']\n",
            "clusters.red.seeds and clusters.red.shards are both set",
        ),
        (
            "[clusters.red]\nstandalone = 'redis://a'\nread_from = 'replica'\n",
            "clusters.red.read_from is \"replica\", must be \"primary\" with clusters.red.standalone",
        ),
        (
            "[clusters.red]\nseeds = ['redis://a']\nconnect_timeout = '9s'\n",
            "clusters.red.connect_timeout is 9s, must not be above clusters.red.command_timeout",
        ),
        ("[clusters.red]\nseeds = ['redis://a']\nuser = 'u'\n", "clusters.red.user is \"u\" without"),
    ] {
        let errors = errors(&format!("{text}[cluster]\nseeds = ['redis://z']\n"));
        assert!(errors.iter().any(|error| error.to_string().contains(reason)), "{reason}: {errors:?}");
    }
    let mut written = Written::default();
    written.set_any("--set", "cluster.standalone", "redis://a");
    written.set_any("--set", "clusters.red.standalone", "redis://b");
    assert_eq!(written.check().unwrap().clusters[1].name, "red");
}

#[test]
fn certificates_are_users_and_names_are_tenants() {
    let shop = |more: &str| format!("{SEEDS}[[tenants]]\nname = 'shop'\n{more}\n");
    let settings = settings(&shop(
        "tls_names = ['Shop.example']\nusers = [{ name = 'a', tls_subjects = ['CN=app', 'DNS:App.example'] }]",
    ));
    let tenant = &settings.tenants[1];
    assert_eq!(tenant.tls_names, ["shop.example"]);
    let user = &tenant.users[0];
    let subjects: Vec<_> = user.subjects.iter().map(|subject| subject.as_str()).collect();
    assert_eq!((subjects, user.is_open()), (vec!["CN=app", "DNS:app.example"], false));
    for (text, reason) in [
        ("users = [{ name = 'a', tls_subjects = ['app'] }]", "must be whom a certificate speaks of: CN=name"),
        ("users = [{ name = 'a', nopass = true, tls_subjects = ['CN=app'] }]", "must have either nopass"),
        ("tls_names = ['*.example']", "must be a host name"),
        ("tls_names = ['a', 'A']", "\"a\""),
        (
            "users = [{ name = 'a', tls_subjects = ['CN=app'] }, { name = 'b', tls_subjects = ['CN=app'] }]",
            "tls_subjects: \"CN=app\" stands more than once",
        ),
    ] {
        let said = said(&shop(text));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn passwords_may_stand_in_a_file_or_a_variable() {
    let folder = std::env::temp_dir().join(format!("slotway-passwords-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("passwords");
    let user = format!("{SEEDS}[[users]]\nname = 'a'\npasswords_file = '{}'\n", file.display());
    let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    std::fs::write(&file, format!("old\n#{hash}\n\n")).expect("a file");
    assert_eq!(settings(&user).tenants[0].users[0].passwords.len(), 2);
    assert_eq!(settings(&user).tenants[0].users[0].passwords[1][0], 0x5e);
    std::fs::write(&file, "#secret\n").expect("a file");
    let wrong = said(&user);
    assert!(wrong.contains("users[0]: passwords_file") && !wrong.contains("secret"), "{wrong}");
    std::fs::write(&file, "\n").expect("a file");
    assert!(said(&user).contains("holds no password"));
    std::fs::remove_dir_all(&folder).expect("removed");
    let missing = said(&format!("{SEEDS}[[users]]\nname = 'a'\npasswords_env = 'SLOTWAY_NOT_SET'\n"));
    assert!(missing.contains("users[0]: passwords_env SLOTWAY_NOT_SET"), "{missing}");
}

#[test]
fn a_user_has_passwords_or_says_that_it_needs_none() {
    let key = || "users[0]".to_owned();
    for login in ["", "nopass = false", "nopass = true\npasswords_sha256 = ['%']"] {
        let login = login.replace('%', &"0".repeat(64));
        let text = format!("{SEEDS}[[users]]\nname = 'a'\n{login}");
        assert_eq!(error(&text), ConfigError::UserLogin { place: place(2), key: key() });
    }
    let twice =
        format!("{SEEDS}[[users]]\nname = 'a'\nnopass = true\n[[users]]\nname = 'a'\nnopass = true\n");
    assert_eq!(error(&twice), ConfigError::DuplicateUser { name: "a".to_owned() });
    let spaced = format!("{SEEDS}[[users]]\nname = 'a b'\nnopass = true\n");
    assert!(said(&spaced).contains("users[0].name is \"a b\", must be a name of 1 to 128 characters"));
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
fn the_backend_password_comes_from_exactly_one_place() {
    let path = std::env::temp_dir().join(format!("slotway-password-{}", std::process::id()));
    std::fs::write(&path, "from the file\n").unwrap();
    let from_file = settings(&format!("{SEEDS}cluster.password_file = '{}'", path.display()));
    std::fs::write(&path, "\n").unwrap();
    let empty = error(&format!("{SEEDS}cluster.password_file = '{}'", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(from_file.clusters[0].password.clone().unwrap().reveal(), "from the file");
    assert!(matches!(empty, ConfigError::PasswordFile { .. }));
    assert!(said(&format!("{SEEDS}cluster.password_file = '/nonexistent'")).contains("cannot be read"));

    let from_env = settings(&format!("{SEEDS}cluster.password_env = 'CARGO_PKG_NAME'"));
    assert_eq!(from_env.clusters[0].password.clone().unwrap().reveal(), "slotway");
    let variable = "SLOTWAY_NO_SUCH_VARIABLE".to_owned();
    let missing = error(&format!("{SEEDS}cluster.password_env = '{variable}'"));
    assert_eq!(missing, ConfigError::PasswordEnv { key: "cluster.password_env".to_owned(), variable });

    let both = error(&format!("{SEEDS}cluster.password = 'a'\ncluster.password_env = 'B'"));
    assert_eq!(
        both,
        ConfigError::Conflict {
            first: "cluster.password".to_owned(),
            second: "cluster.password_env".to_owned()
        }
    );
    let alone = error(&format!("{SEEDS}cluster.user = 'u'"));
    assert_eq!(
        alone,
        ConfigError::UserWithoutPassword { key: "cluster.user".to_owned(), user: "u".to_owned() }
    );
}

#[test]
fn backend_urls_may_carry_one_login() {
    let from_url =
        settings("cluster.seeds = ['redis://u:p@a', 'redis://b', 'redis://u:p@c']").clusters.remove(0);
    assert_eq!(from_url.user.as_deref(), Some("u"));
    assert_eq!(from_url.password.unwrap().reveal(), "p");
    let differ = error("cluster.shards = ['redis://:p@a', 'redis://:q@b']");
    assert_eq!(differ, ConfigError::LoginsDiffer { key: "cluster.shards".to_owned() });
    let both = error("cluster.seeds = ['redis://:p@a']\ncluster.password = 'p'");
    assert!(matches!(both, ConfigError::Conflict { first, .. } if first == "cluster.password"));
    let users = error("cluster.seeds = ['redis://u:p@a']\ncluster.user = 'v'");
    assert!(matches!(users, ConfigError::Conflict { first, .. } if first == "cluster.user"));
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

#[test]
fn limits_have_the_action_that_is_written_or_delay() {
    use super::limits::{Action, Bound, Limit};

    let text = format!(
        "{SEEDS}[[tenants]]\nname = 'a'\n[tenants.limits]\nclients = 3\nrequests_per_second = 7\n\
         bytes_in_per_second = '2KiB'\nbytes_in_per_second_action = 'refuse'"
    );
    let limits = settings(&text).tenants[1].limits;
    let bound = |most, action| Some(Bound { most, action });
    assert_eq!(limits.bound(Limit::Clients), bound(3, Action::Delay));
    assert_eq!(limits.bound(Limit::RequestsPerSecond), bound(7, Action::Delay));
    assert_eq!(limits.bound(Limit::BytesInPerSecond), bound(2_048, Action::Refuse));
    assert_eq!(limits.bound(Limit::MaxValue), None);
    let shown = settings(&text).tenants[1].to_string();
    assert!(
        shown.ends_with("; limits clients 3, requests_per_second 7, bytes_in_per_second 2048"),
        "{shown}"
    );
}

#[test]
fn mistakes_in_limits_are_told() {
    for (limits, mistake) in [
        ("pending = 0", "tenants[0].limits.pending is 0, must be a whole number from 1 to 10000000"),
        ("bytes_in_flight = '1KiB'", "must be a size from \"64KiB\" to \"1024GiB\""),
        ("pending = 1\npending_action = 'wait'", "must be \"delay\" or \"refuse\""),
        ("pending_action = 'refuse'", "tenants[0].limits has pending_action without pending"),
        ("clients = 1\nclients_action = 'delay'", "unknown key tenants[0].limits.clients_action"),
        ("max_value = 1", "must be a size from \"1KiB\" to \"1GiB\""),
    ] {
        let said = said(&format!("{SEEDS}[[tenants]]\nname = 'a'\n[tenants.limits]\n{limits}"));
        assert!(said.contains(mistake), "{said}");
    }
}

const FLEET: &str = "[fleet]\nname = 'Redis.Example.com.'\n\
    entries = [{ id = 'a', addresses = ['192.0.2.1', '2001:db8::1'], cap = '1Gbit', listen = ['127.0.0.1:7001'] }, \
    { id = 'b', addresses = ['192.0.2.2'], cap = '500Mbit', drain = true, max_connections = 1000, host = 'b.example.com' }]\n";

#[test]
fn a_fleet_has_a_name_and_entries() {
    let fleet = settings(&format!("{SEEDS}\n{FLEET}proxy_protocol = ['127.0.0.1:7001', '127.0.0.1:6379']"));
    let fleet = fleet.fleet.expect("it is written");
    assert_eq!((fleet.name.as_str(), fleet.port), ("redis.example.com", 6379));
    let [a, b] = &fleet.entries[..] else { panic!("{:?}", fleet.entries) };
    assert_eq!((a.bytes(), a.drain, a.max_connections), (125_000_000, false, None));
    assert_eq!((b.cap, b.drain, b.max_connections), (500_000_000, true, Some(1_000)));
    assert!(fleet.expects_header("127.0.0.1:6379".parse().expect("an address")));
    assert_eq!(settings(SEEDS).fleet, None);
}

#[test]
fn what_is_wrong_with_a_fleet_is_told() {
    let said = |text: &str| said(&format!("{SEEDS}\n{text}"));
    let both =
        errors(&format!("{SEEDS}\n[fleet]\nport = 1")).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        both,
        [
            "fleet: name is not written, must be the name that clients connect to",
            "fleet: entries is not written, must have at least one [[fleet.entries]]"
        ]
    );
    for (more, told) in [
        ("low_watermark = 90", "fleet: low_watermark is 90, must be below high_watermark, 90"),
        ("proxy_protocol = ['127.0.0.1:1']", "proxy_protocol: 127.0.0.1:1 is none of our addresses"),
        ("port = 0", "fleet.port is 0, must be a whole number from 1 to 65535"),
        ("cap = 1", "unknown key fleet.cap, known here: name, port, entries"),
    ] {
        let said = said(&format!("{FLEET}{more}"));
        assert!(said.contains(told), "{said}");
    }
    let entry = |entry: &str| said(&format!("[fleet]\nname = 'a.b'\n[[fleet.entries]]\nid = 'a'\n{entry}"));
    for (written, told) in [
        ("cap = '1Gbit'", "fleet.entries[0] must have id, addresses and cap"),
        (
            "addresses = ['192.0.2.1']\ncap = '1GiB'",
            "fleet.entries[0].cap is \"1GiB\", must be bits a second from",
        ),
        (
            "addresses = ['192.0.2.1:1']\ncap = '1Gbit'",
            "addresses[0] is \"192.0.2.1:1\", must be an IP address",
        ),
        (
            "addresses = ['192.0.2.1', '192.0.2.1']\ncap = '1Gbit'",
            "the address 192.0.2.1 stands more than once",
        ),
        (
            "addresses = ['192.0.2.1']\ncap = '1Gbit'\nlisten = ['127.0.0.1:6379']",
            "fleet.entries.listen: the address 127.0.0.1:6379 stands more than once",
        ),
    ] {
        let said = entry(written);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_fleet_publishes_where_the_settings_say() {
    use super::publishers::Algorithm;

    let keys = "servers = ['ns1.example.com', '[2001:db8::53]:5353']\nzone = 'Example.com.'\nkey_name = 'Slotway.'\n";
    let text = format!(
        "{SEEDS}\n{FLEET}agent_check = '127.0.0.1:7777'\n[fleet.rfc2136]\n{keys}key = 'c2VjcmV0'\n\
         algorithm = 'HMAC-SHA512'\nttl = '30s'\n[fleet.files]\ngdnsd = '/tmp/g'\n"
    );
    let publishers = settings(&text).fleet.expect("it is written").publishers;
    let update = publishers.rfc2136.expect("it is written");
    let servers: Vec<_> = update.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["ns1.example.com:53", "[2001:db8::53]:5353"]);
    assert_eq!((update.zone.as_str(), update.name.as_str()), ("example.com", "redis.example.com"));
    assert_eq!((update.key_name.as_str(), update.algorithm), ("slotway", Algorithm::HmacSha512));
    assert_eq!((update.ttl.as_secs(), update.verify_interval.as_secs()), (30, 15));
    assert_eq!(update.key_bytes().as_deref(), Some(&b"secret"[..]));
    assert_eq!(publishers.files.gdnsd.as_deref(), Some(std::path::Path::new("/tmp/g")));
    assert_eq!(publishers.agent_check.map(|address| address.port()), Some(7777));
    assert_eq!(
        settings(&format!("{SEEDS}\n{FLEET}")).fleet.map(|fleet| fleet.publishers),
        Some(Default::default())
    );
}

#[test]
fn what_is_wrong_with_a_fleets_publishers_is_told_and_the_key_never_shown() {
    let keys = "servers = ['ns1']\nzone = 'example.com'\nkey_name = 'k'\n";
    for (section, told) in [
        ("rfc2136", "zone = 'example.com'", "rfc2136: servers is not written"),
        ("rfc2136", "zone = 'example.com'", "rfc2136: key, key_file or key_env is not written"),
        ("rfc2136", &format!("{keys}key = 'no base64 at all'"), "rfc2136.key must be a key in base64"),
        (
            "rfc2136",
            &format!("{keys}key = 'c2VjcmV0'\nkey_env = 'X'"),
            "rfc2136.key and rfc2136.key_env exclude",
        ),
        ("rfc2136", &format!("{keys}key_file = '/no/such'"), "rfc2136.key_file: /no/such cannot be read"),
        (
            "rfc2136",
            &format!("{keys}key_env = 'NO_SUCH'"),
            "rfc2136.key_env: the variable NO_SUCH is not set",
        ),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nname = 'a.b'"), "must be a zone that \"a.b\" is in"),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nname = 'xexample.com'"), "must be a zone that"),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nalgorithm = 'hmac-md5'"), "must be hmac-sha256"),
        (
            "rfc2136",
            &format!("{keys}key = 'c2VjcmV0'\nttl = '1s'"),
            "fleet.rfc2136.ttl is \"1s\", must be a duration from",
        ),
        ("files", "gdnsd = '/a/b'\ncoredns = '/a/b'", "files.gdnsd and files.coredns are the same file"),
        ("files", "gdnsd = '/'", "fleet.files.gdnsd is \"/\", must be the path of a file"),
    ]
    .map(|(section, keys, told)| (format!("[fleet.{section}]\n{keys}"), told))
    {
        let errors = errors(&format!("{SEEDS}\n{FLEET}{section}"));
        let said = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains(told), "{told}: {said}");
        assert!(!said.contains("c2VjcmV0") && !said.contains("base64 at all"), "{said}");
    }
    let said = said(&format!("{SEEDS}\n{FLEET}agent_check = '127.0.0.1:7001'"));
    assert!(said.contains("127.0.0.1:7001 stands more than once"), "{said}");
}
