//! The server binary that nodes are made of: found in PATH, or named by the operator.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::DevError;

/// The environment variable that names the server binary.
const SERVER_VARIABLE: &str = "SLOTWAY_SERVER";

/// What distributions call it, in the order in which it is looked for.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// A server binary that runs.
pub(super) struct Program {
    /// The binary.
    pub(super) path: PathBuf,
    /// `redis-server 7.0.15`
    pub(super) title: String,
    /// Words to put before the command line so that the kernel ends the node when the proxy ends, even by
    /// SIGKILL: util-linux's `setpriv`. Empty where there is none, as outside Linux.
    pub(super) tied: &'static [&'static str],
}

/// The kernel sends this signal when the thread that started the node is gone.
const TIED: &[&str] = &["setpriv", "--pdeathsig", "KILL"];

impl Program {
    /// Finds the binary and asks for its version, which proves that it runs.
    pub(super) fn find() -> Result<Self, DevError> {
        let path = find_in(env::var_os(SERVER_VARIABLE).as_deref(), env::var_os("PATH").as_deref())?;
        let version = version(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { title: format!("{name} {version}"), tied: if can_tie() { TIED } else { &[] }, path })
    }
}

fn find_in(named: Option<&OsStr>, search_path: Option<&OsStr>) -> Result<PathBuf, DevError> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return if is_program(&path) { Ok(path) } else { Err(DevError::NotAServer(path)) };
    }
    let folders: Vec<PathBuf> = search_path.map(env::split_paths).into_iter().flatten().collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| is_program(path))
        .ok_or(DevError::NoServer)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn version(path: &Path) -> Result<String, DevError> {
    let bad = |reason: String| DevError::BadServer { program: path.to_owned(), reason };
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| bad(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    version_in(&said).map(str::to_owned).ok_or_else(|| bad("it tells no version".to_owned()))
}

/// `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=...`
fn version_in(said: &str) -> Option<&str> {
    said.split_whitespace().find_map(|word| word.strip_prefix("v="))
}

/// Whether [`TIED`] works here: other implementations of setpriv lack the option.
fn can_tie() -> bool {
    let [setpriv, options @ ..] = TIED else { return false };
    let quiet = || Stdio::null();
    Command::new(setpriv)
        .args(options)
        .arg("true")
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_named_program_comes_before_the_search_path() {
        let named = find_in(Some("/bin/sh".as_ref()), None).unwrap();
        assert_eq!(named, PathBuf::from("/bin/sh"));
        let error = find_in(Some("/nonexistent".as_ref()), Some("/bin".as_ref())).unwrap_err();
        assert!(matches!(error, DevError::NotAServer(_)));
    }

    #[test]
    fn either_server_is_found_and_only_programs_are() {
        let folder = env::temp_dir().join(format!("slotway-program-{}", std::process::id()));
        fs::create_dir_all(folder.join("redis-server")).unwrap();
        let valkey = folder.join("valkey-server");
        fs::write(&valkey, "").unwrap();
        assert!(matches!(find_in(None, Some(folder.as_os_str())), Err(DevError::NoServer)));
        fs::set_permissions(&valkey, fs::Permissions::from_mode(0o755)).unwrap();
        let found = find_in(Some("".as_ref()), Some(folder.as_os_str()));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.unwrap(), valkey);
    }

    #[test]
    fn without_a_server_it_says_what_to_install_on_each_system() {
        let said = find_in(None, None).unwrap_err().to_string();
        for part in ["apt-get install", "dnf install", "brew install", "SLOTWAY_SERVER="] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn the_version_is_one_word_of_what_the_server_says() {
        assert_eq!(version_in("Redis server v=7.0.15 sha=0:0 bits=64"), Some("7.0.15"));
        assert_eq!(version_in("Valkey server v=9.1.2 sha=0:0"), Some("9.1.2"));
        assert_eq!(version_in("usage: something"), None);
    }
}
