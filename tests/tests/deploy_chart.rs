//! The Helm chart: rendered by Helm itself, version 3 and version 4, with the values in `deploy/helm/slotway/ci`. Kubernetes'
//! own schemas say of each manifest whether it would be taken, and the proxy of its settings file.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use slotway_tests::certs::Authority;
use slotway_tests::dir::Dir;
use slotway_tests::installed::{installed, python};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, binary};
use slotway_tests::server::Server;
use slotway_tests::tool::{Said, run, source, source_path};

const WITHIN: Duration = Duration::from_secs(20);
const CHART: &str = "deploy/helm/slotway";
/// The oldest that the chart is for, and the newest that there are schemas of.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];
/// The files of `ci`.
const VALUES: [&str; 7] = ["first", "full", "tls", "annotations", "follow", "updates", "responder"];

#[test]
fn each_manifest_is_one_that_kubernetes_takes() {
    let helms = helms();
    for values in VALUES {
        let rendered = helms.iter().map(|helm| {
            let said = helm.chart(&["lint", "--strict"], values, &[]);
            assert!(said.well, "{}{}", said.output, said.errors);
            helm.render(values, &[]).output()
        });
        let rendered: Vec<String> = rendered.collect();
        // They put the manifests in different orders.
        let documents =
            |of: &str| of.split("---\n").map(str::trim).map(str::to_owned).collect::<BTreeSet<_>>();
        assert!(rendered.windows(2).all(|two| documents(&two[0]) == documents(&two[1])), "{rendered:?}");
        let Some(newest) = rendered.last() else { return };
        let dir = Dir::new("chart");
        let Some(said) = examined(&dir, newest, &KUBERNETES) else { return };
        assert!(said.well, "{values}: {}{}", said.output, said.errors);
    }
}

#[test]
fn what_is_wrong_with_a_manifest_is_seen() {
    let Some(helm) = helms().pop() else { return };
    let manifests = helm.render("full", &[]).output();
    for (right, wrong, expected) in [
        ("targetPort: entry-7001", "targetPort: entry-7009", "no port entry-7009"),
        ("  minReadySeconds: 15", "  minReadySecond: 15", "minReadySecond"),
        ("setIdentifier: \"a\"", "identifier: \"a\"", "identifier"),
        ("listen = [\"0.0.0.0:7002", "listen = [\"0.0.0.0:7012", "settings listen at"),
        ("port: entry-7003", "port: entry-7030", "are let in"),
    ] {
        let dir = Dir::new("chart");
        assert!(manifests.contains(right), "no {right}");
        let Some(said) = examined(&dir, &manifests.replacen(right, wrong, 1), &KUBERNETES[1..]) else {
            return;
        };
        let said = said.complaint();
        assert!(said.contains(expected), "{wrong}: {said}");
    }
}

#[test]
fn the_proxy_takes_its_settings() {
    let Some(helm) = helms().pop() else { return };
    for values in VALUES {
        let authority = Authority::new("chart");
        let issued = authority.server("tls", &["redis.example.com"]);
        let dir = Dir::new("chart");
        let Some(said) = examined(&dir, &helm.render(values, &[]).output(), &[]) else { return };
        assert!(said.well, "{}{}", said.output, said.errors);
        let file = dir.path().join("slotway.toml");
        let text = fs::read_to_string(&file).expect("the settings");
        let text = text.replace("/etc/slotway/tls/tls.crt", path(&issued.certificate));
        let text = text.replace("/etc/slotway/tls/tls.key", path(&issued.key));
        for (folder, name) in [("backend", "password"), ("secrets/tenants", "shop"), ("secrets/tsig", "key")]
        {
            fs::create_dir_all(dir.path().join(folder)).expect("a folder");
            fs::write(dir.path().join(folder).join(name), "c2VjcmV0\n").expect("a file");
        }
        fs::write(&file, text.replace("/etc/slotway", path(dir.path()))).expect("the settings");
        let said = run(&binary(), ["check", path(&file)]);
        assert!(said.well, "{values}: {}{}\n{text}", said.output, said.errors);
    }
}

#[test]
fn addresses_make_a_fleet() {
    for helm in helms() {
        let first = helm.render("first", &[]).output();
        assert!(!first.contains("[fleet]") && !first.contains("kind: DNSEndpoint"), "{first}");
        let known = ["fleet.entries[0].addresses={192.0.2.10}", "fleet.entries[0].id=a"];
        let half = helm.render_sets("first", &entries(&known, &["fleet.entries[1].id=b"])).output();
        assert!(!half.contains("[fleet]"), "one of two is not enough: {half}");
        let both = ["fleet.entries[1].id=b", "fleet.entries[1].addresses={192.0.2.20}"];
        let whole = helm.render_sets("first", &entries(&known, &both)).output();
        assert!(whole.contains("[fleet]"), "{whole}");
        assert!(whole.contains("listen = [\"0.0.0.0:7001\"]"), "{whole}");
    }
}

#[test]
fn an_entry_that_drains_leaves_dns_unless_all_do() {
    for helm in helms() {
        let only = "templates/dnsendpoint.yaml";
        let one = helm.render("tls", &["--show-only", only]).output();
        assert!(one.contains("192.0.2.10") && !one.contains("192.0.2.20"), "{one}");
        let all = helm.render("tls", &["--show-only", only, "--set", "fleet.entries[0].drain=true"]).output();
        assert!(all.contains("192.0.2.10") && all.contains("192.0.2.20"), "{all}");
        let weighted = helm.render("full", &["--show-only", only]).output();
        let last = weighted.rsplit("setIdentifier: \"d\"").next().expect("a last one");
        assert!(last.contains("value: \"0\""), "{last}");
    }
}

#[test]
fn the_follower_may_apply_what_slotway_writes() {
    let Some(helm) = helms().pop() else { return };
    let manifests = helm.render("follow", &[]).output();
    let dir = Dir::new("chart");
    let Some(said) = examined(&dir, &manifests, &[]) else { return };
    assert!(said.well, "{}", said.output);
    // As in its pod, but for what is on this machine.
    let (server, admin) = (Server::start(), Port::lease());
    let text = fs::read_to_string(dir.path().join("slotway.toml")).expect("the settings");
    let lines = text.lines().filter(|line| !line.starts_with("listen") && !line.starts_with("password_file"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = text.replace("redis://redis:6379", &format!("redis://{}", server.addr()));
    let text = text.replace("0.0.0.0:9121", &format!("127.0.0.1:{}", admin.number()));
    let text = text.replace("192.0.2.", "127.0.0.");
    let file = dir.path().join("endpoint.yaml");
    assert!(manifests.contains("- --set\n            - fleet.files.dnsendpoint=/run/dns/endpoint.yaml"));
    let set = format!("fleet.files.dnsendpoint={}", path(&file));
    let _proxy = Options::default().config(&text).set(&[&set, "fleet.files.ttl=15s"]).start();
    let written = eventually("the DNSEndpoint", WITHIN, || fs::read_to_string(&file).ok());
    let name = written.lines().find_map(|line| line.strip_prefix("  name: ")).expect("a name");
    assert!(manifests.contains(&format!("resourceNames: [{name}]")), "{written}");
    assert!(written.contains("kind: DNSEndpoint") && written.contains("127.0.0.20"), "{written}");
    let both = manifests + "\n---\n" + &written;
    let Some(said) = examined(&dir, &both, &[]) else { return };
    assert!(said.well, "{}", said.output);
}

#[test]
fn values_that_cannot_work_are_refused_with_a_reason() {
    for helm in helms() {
        for (set, reason) in [
            ("fleet.port=0", "port"),
            ("fleet.prot=6379", "prot"),
            ("fleet.entries[0].cap=fast", "cap"),
            ("entryService.externalTrafficPolicy=local", "externalTrafficPolicy"),
            ("fleet.entries[0].containerPort=9121", "containerPort 9121 stands more than once"),
            ("fleet.entries[1].id=a", "id a stands more than once"),
            ("settings.listen=off", "settings.listen can't be given"),
            ("settings.fleet.port=1", "settings.fleet.port can't be given"),
            ("settings.cluster.shards=null", "settings.cluster must have seeds"),
            ("tls.entries=true", "tls.entries needs fleet.proxyProtocol"),
            ("externalDNS.mode=follow", "needs the addresses of every entry"),
            ("settings.fleet.rfc2136.zone=example.com", "would both say what the same name is"),
            ("plain=false", "tls.secretName must be given"),
        ] {
            let said = helm.render("annotations", &["--set", set]).complaint();
            assert!(said.to_lowercase().contains(&reason.to_lowercase()), "{set}: {said}");
        }
    }
}

#[test]
fn large_numbers_stay_whole_and_odd_texts_stay_themselves() {
    for helm in helms() {
        let dir = Dir::new("chart");
        let odd = dir.path().join("odd.yaml");
        let text = "settings:\n  odd:\n    large: 100000000000\n    part: 0.5\n    'a key': 'a \"b\" <c> \\ d'\n    \
                    none: null\n    empty: []\n    inline: [[1, 2], [{x: true}]]\n";
        fs::write(&odd, text).expect("a file");
        let said = helm.render("first", &["--values", path(&odd)]).output();
        for expected in [
            "\n    large = 100000000000\n",
            "\n    part = 0.5\n",
            "\n    empty = []\n",
            "\n    inline = [[1, 2], [{ x = true }]]\n",
        ] {
            assert!(said.contains(expected), "no {expected:?} in {said}");
        }
        let line = said.lines().find(|line| line.contains("a key")).expect("the key");
        let value = line.trim().strip_prefix("\"a key\" = ").expect("a quoted key");
        assert!([r#""a \"b\" <c> \\ d""#, r#""a \"b\" \u003cc\u003e \\ d""#].contains(&value), "{value}");
        assert!(!said.contains("none"), "{said}");
    }
}

#[test]
fn every_value_is_documented_and_known_to_the_schema() {
    let values = source(&format!("{CHART}/values.yaml"));
    let schema = source(&format!("{CHART}/values.schema.json"));
    let top = values.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let keys: Vec<&str> = top.filter_map(|line| line.split(':').next()).collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in &keys {
        assert!(schema.contains(&format!("\n    \"{key}\": {{")), "the schema has no {key}");
    }
    for line in schema.lines().filter_map(|line| line.strip_prefix("    \"")?.split_once("\": {")) {
        assert!(line.0 == "global" || keys.contains(&line.0), "values.yaml has no {}", line.0);
    }
    for paragraph in values.split("\n\n") {
        let commented = paragraph.lines().any(|line| line.trim_start().starts_with('#'));
        assert!(commented, "there is no word about {paragraph}");
    }
}

/// One version of Helm, with a home of its own.
struct Helm {
    program: PathBuf,
    home: Dir,
}

impl Helm {
    fn chart(&self, command: &[&str], values: &str, arguments: &[&str]) -> Said {
        let chart = source_path(CHART);
        let values = chart.join(format!("ci/{values}-values.yaml"));
        let mut helm = Command::new(&self.program);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        // No cluster is asked for anything.
        helm.env("KUBECONFIG", "/dev/null")
            .args(command)
            .arg(chart)
            .arg("--values")
            .arg(values)
            .args(arguments);
        let output = helm.output().expect("Helm starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { well: output.status.success(), output: text(output.stdout), errors: text(output.stderr) }
    }

    fn render(&self, values: &str, arguments: &[&str]) -> Said {
        self.chart(&["template", "release"], values, arguments)
    }

    fn render_sets(&self, values: &str, sets: &str) -> Said {
        self.render(values, &["--set", sets])
    }
}

/// The versions of Helm that are installed.
fn helms() -> Vec<Helm> {
    if env::consts::ARCH != "x86_64" {
        println!("skipped: no package has Helm for {}", env::consts::ARCH);
        return Vec::new();
    }
    let of = |name: &str| {
        let program = installed(&tools(name), "Helm")?;
        Some(Helm { program, home: Dir::new(name) })
    };
    ["helm3", "helm4"].into_iter().filter_map(of).collect()
}

/// What `tests/run.sh` has put beside Helm.
fn tools(name: &str) -> String {
    format!("{}/{name}", env::var("SLOTWAY_TOOLS").unwrap_or_else(|_| "target/tools".to_owned()))
}

/// Two entries as `--set` has them.
fn entries(one: &[&str], other: &[&str]) -> String {
    let rest = [
        "fleet.entries[0].containerPort=7001",
        "fleet.entries[0].cap=1Gbit",
        "fleet.entries[1].containerPort=7002",
        "fleet.entries[1].cap=1Gbit",
    ];
    [one, other, &rest].concat().join(",")
}

/// What `tests/tools/manifests.py` says of `manifests`, with the schemas of these versions of Kubernetes; their settings file is then in `dir`.
fn examined(dir: &Dir, manifests: &str, versions: &[&str]) -> Option<Said> {
    let (python, schemas) = (python()?, installed(&tools("python"), "kubernetes-validate")?);
    let file = dir.path().join("manifests.yaml");
    fs::write(&file, manifests).expect("a file");
    let settings = dir.path().join("slotway.toml");
    let mut command = Command::new(python);
    command.env("PYTHONPATH", schemas).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(source_path("tests/tools/manifests.py")).args([&file, &settings]).args(versions);
    let output = command.output().expect("Python starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(Said { well: output.status.success(), output: text(output.stdout), errors: text(output.stderr) })
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
