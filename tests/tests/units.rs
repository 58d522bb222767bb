//! The files for service managers and containers, read by the tools that they are for.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use slotway::handover::taker::Taker;
use slotway_tests::dir::Dir;
use slotway_tests::installed::python;
use slotway_tests::page::page;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::{binary, run_with_file};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("deploy").join(path)
}

/// What `program` says; `None` with a word where it is not installed.
fn run(program: &str, arguments: &[&str], dir: &Path) -> Option<Output> {
    match Command::new(program).args(arguments).current_dir(dir).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(env::var_os("SLOTWAY_NO_SKIP").is_none(), "{program}: {error}");
            println!("skipped: {program} can't be run: {error}");
            None
        }
    }
}

/// The units in a directory of their own, with this build's binary for the installed one.
fn units() -> Dir {
    let dir = Dir::new("units");
    let installed = binary().display().to_string();
    for (unit, name) in [
        ("slotway.service", "slotway.service"),
        ("slotway.socket", "slotway.socket"),
        ("slotway@.service", "slotway@a.service"),
    ] {
        let text = fs::read_to_string(deploy("systemd").join(unit)).expect("a unit");
        fs::write(dir.path().join(name), text.replace("/usr/bin/slotway", &installed)).expect("writable");
    }
    dir
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = units();
    for units in [&["slotway.service", "slotway.socket"][..], &["slotway@a.service"]] {
        let arguments: Vec<_> = ["verify", "--man=no"].iter().chain(units).copied().collect();
        let Some(output) = run("systemd-analyze", &arguments, dir.path()) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        // Of units that this machine lacks nothing is known.
        let ours: Vec<_> = said.lines().filter(|line| line.contains("slotway")).collect();
        assert!(ours.is_empty() && output.status.success(), "{said}");
    }
}

#[test]
fn the_services_are_hardened() {
    let dir = units();
    for unit in ["slotway.service", "slotway@a.service"] {
        // 1.5 of 10; "OK" is what systemd calls everything below 2.
        let arguments = ["security", "--offline=yes", "--threshold=15", "--no-pager", unit];
        let Some(output) = run("systemd-analyze", &arguments, dir.path()) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// `KEY=VALUE` of a unit; the last one where there are several.
fn keys(unit: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(deploy("systemd").join(unit)).expect("a unit");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn the_two_ways_to_run_it_differ_in_what_they_say_they_differ() {
    let (one, two) = (keys("slotway.service"), keys("slotway@.service"));
    let differ: Vec<_> = one.keys().chain(two.keys()).filter(|key| one.get(*key) != two.get(*key)).collect();
    let mut differ: Vec<_> = differ.into_iter().map(String::as_str).collect();
    differ.sort_unstable();
    differ.dedup();
    let expected = [
        "After",
        "Also",
        "Conflicts",
        "DefaultInstance",
        "Description",
        "ExecStart",
        "RuntimeDirectoryPreserve",
        "TimeoutStartSec",
    ];
    assert_eq!(differ, expected);
}

/// Which system calls the services may make, as systemd expands its groups.
const ALLOWED: &str = r##"
import re, subprocess, sys
text = open(sys.argv[1]).read()
def group(name):
    out = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in out.stdout.splitlines()[1:]]
    calls = set()
    for word in words:
        if word.startswith("@"): calls |= group(word)
        elif word and not word.startswith("#"): calls.add(word)
    return calls
allowed = set()
for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
    for word in line.lstrip("~").split():
        calls = group(word) if word.startswith("@") else {word}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
print("\n".join(sorted(allowed)))
"##;

/// The system calls that a proxy makes from its start, through serving, giving its sockets away and failing to, to its end.
fn calls_of_a_life(dir: &Path) -> Vec<String> {
    let (server, port, admin) = (Server::start(), Port::lease(), Port::lease());
    let [addr, admin] = [&port, &admin].map(|port| format!("127.0.0.1:{}", port.number()));
    let (socket, table) = (dir.join("takeover.sock"), dir.join("calls"));
    let config = dir.join("slotway.toml");
    let url = format!("redis://localhost:{}", server.addr().rsplit_once(':').expect("a port").1);
    let settings = format!("listen = ['{addr}']\nadmin = '{admin}'\ncluster.standalone = '{url}'\n");
    fs::write(&config, format!("takeover = '{}'\n{settings}", socket.display())).expect("writable");
    let mut command = Command::new("strace");
    // Detached, so that the child is the proxy itself.
    command.args(["-D", "-f", "-q", "-o"]).arg(&table).arg(binary()).arg("--config").arg(&config);
    let mut process = Process::start(&mut command, &dir.join("log"));
    eventually("it serves", PATIENCE, || {
        let reply = Raw::try_connect(&addr).ok()?.try_call(&["SET", "a", "1"]).ok()?;
        (!reply.is_error()).then_some(())
    });
    assert!(page(&admin, "/metrics").contains("200 OK"));
    let mut blocked = Raw::connect(&addr);
    blocked.send(&["BLPOP", "l", "0"]);
    drop(Taker::ask(&socket).expect("the sockets"));
    process.signal(Signal::HUP);
    eventually("it looked", PATIENCE, || process.log().contains("nothing to apply").then_some(()));
    process.signal(Signal::TERM);
    blocked.read_to_close();
    assert!(process.wait(PATIENCE).is_some_and(|status| status.success()), "{}", process.log_tail());
    let traced = || fs::read_to_string(&table).unwrap_or_default();
    let traced =
        eventually("all is traced", PATIENCE, || Some(traced()).filter(|text| text.contains("+++ exited")));
    let name = |line: &str| Some(line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned());
    // strace names so what it came into the middle of.
    let is_known = |call: &String| !call.starts_with("syscall_0x");
    let is_name = |call: &String| call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut calls: Vec<_> = traced.lines().filter_map(name).filter(is_name).filter(is_known).collect();
    calls.sort_unstable();
    calls.dedup();
    calls
}

#[test]
fn what_the_proxy_calls_of_the_kernel_is_allowed_to_the_services() {
    let Some(python) = python() else { return };
    let dir = Dir::new("calls");
    let Some(_) = run("systemd-analyze", &["--version"], dir.path()) else { return };
    let Some(_) = run("strace", &["--version"], dir.path()) else { return };
    let made = calls_of_a_life(dir.path());
    assert!(made.len() > 30 && made.iter().any(|call| call == "recvmsg"), "{made:?}");
    let script = dir.path().join("allowed.py");
    fs::write(&script, ALLOWED).expect("writable");
    let unit = deploy("systemd/slotway.service").display().to_string();
    let output = Command::new(python).arg(&script).arg(unit).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let allowed = String::from_utf8_lossy(&output.stdout).into_owned();
    let allowed: Vec<_> = allowed.lines().collect();
    let denied: Vec<_> = made.iter().filter(|call| !allowed.contains(&call.as_str())).collect();
    assert!(denied.is_empty(), "{denied:?}");
    for call in ["ptrace", "mount", "reboot", "setuid", "init_module", "sched_setscheduler"] {
        assert!(!allowed.contains(&call), "{call}");
    }
}

/// As a builder reads it: stages, and the last one's instructions.
const DOCKERFILE: &str = r#"
import json, sys
try:
    from dockerfile_parse import DockerfileParser
except ImportError:
    sys.exit(77)
parser = DockerfileParser(fileobj=open(sys.argv[1], "rb+"))
stages = [[]]
for part in parser.structure:
    if part["instruction"] == "FROM": stages.append([])
    if part["instruction"] != "COMMENT": stages[-1].append((part["instruction"], part["value"]))
print(json.dumps({"images": parser.parent_images, "last": stages[-1], "labels": parser.labels}))
"#;

#[test]
fn the_container_file_makes_an_image_without_root_that_asks_itself() {
    let Some(python) = python() else { return };
    let dir = Dir::new("dockerfile");
    let (script, file) = (dir.path().join("parse.py"), dir.path().join("Dockerfile"));
    fs::write(&script, DOCKERFILE).expect("writable");
    fs::copy(deploy("container/Dockerfile"), &file).expect("a container file");
    let output = Command::new(python).arg(&script).arg(&file).output().expect("python");
    if output.status.code() == Some(77) {
        assert!(env::var_os("SLOTWAY_NO_SKIP").is_none(), "dockerfile-parse is missing");
        println!("skipped: dockerfile-parse is missing; tests/run.sh installs it");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for wanted in [
        r#""images": ["docker.io/library/rust:1.95-slim-bookworm", "gcr.io/distroless/cc-debian12:nonroot"]"#,
        r#"["FROM", "${RUN_IMAGE} AS run"]"#,
        r#"["USER", "65532:65532"]"#,
        r#"["STOPSIGNAL", "SIGTERM"]"#,
        r#"["ENTRYPOINT", "[\"/usr/bin/slotway\"]"]"#,
        r#"["CMD", "[\"run\", \"--config\", \"/etc/slotway/slotway.toml\"]"]"#,
        r#"\"/usr/bin/slotway\", \"health\", \"--config\""#,
        r#""org.opencontainers.image.title": "slotway""#,
    ] {
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    assert!(!said.contains(r#"["RUN""#), "the image has no shell: {said}");
}

#[test]
fn the_containers_settings_are_settings() {
    let settings = fs::read_to_string(deploy("container/slotway.toml")).expect("settings");
    let output = run_with_file(&["check"], &settings);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    // What the image exposes, and where its health check asks.
    assert!(said.contains("0.0.0.0:6379") && said.contains("0.0.0.0:9121"), "{said}");
}
