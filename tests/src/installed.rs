//! What `tests/run.sh` installs: Python with its packages, and Node's modules.

use std::env;
use std::path::{Path, PathBuf};

/// What is installed at `path`, from the workspace's folder. Where it is not there the test is skipped with a word, or
/// fails where `SLOTWAY_NO_SKIP` is set, as the script does.
///
/// # Panics
/// See above.
#[track_caller]
#[must_use]
pub fn installed(path: &str, what: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(env::var_os("SLOTWAY_NO_SKIP").is_none(), "{what} is missing");
    println!("skipped: {what} is missing; tests/run.sh installs it");
    None
}

/// Python with redis-py and what else is in `tests/clients/python/requirements.txt`.
///
/// # Panics
/// As [`installed`].
#[track_caller]
#[must_use]
pub fn python() -> Option<PathBuf> {
    let named = env::var("SLOTWAY_PYTHON").unwrap_or_else(|_| "target/venv/bin/python".to_owned());
    installed(&named, "the virtual environment")
}

/// A program of the PATH, or of where servers are. Where it is not there the test is skipped with a word, or fails where
/// `SLOTWAY_NO_SKIP` is set and the script installs it.
///
/// # Panics
/// See above.
#[track_caller]
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let is_expected = INSTALLED.contains(&name) && env::var_os("SLOTWAY_NO_SKIP").is_some();
        assert!(!is_expected, "{name} is missing");
        println!("skipped: {name} is not installed");
    }
    found
}

/// What `tests/run.sh` installs of such programs.
const INSTALLED: [&str; 16] = [
    "named",
    "named-checkconf",
    "named-checkzone",
    "dig",
    "nsupdate",
    "knotd",
    "knotc",
    "keymgr",
    "pdns_server",
    "pdnsutil",
    "sqlite3",
    "gdnsd",
    "unbound",
    "unbound-checkconf",
    "dnsmasq",
    "haproxy",
];
