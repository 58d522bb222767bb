//! Where keys are: clusters, single servers, their logins.

use super::*;

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
