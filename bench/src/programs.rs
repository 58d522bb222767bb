//! Where the programs are that a run starts: flags that every benchmark has.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

/// The programs of a run.
#[derive(Args, Clone, Debug)]
pub struct Programs {
    /// The slotway binary; by default the one built beside this program.
    #[arg(long, value_name = "FILE")]
    pub slotway: Option<PathBuf>,
    /// The envoy binary.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    pub envoy: PathBuf,
    /// The twemproxy binary.
    #[arg(long, value_name = "FILE", default_value = "nutcracker")]
    pub nutcracker: PathBuf,
    /// The server that the backends run.
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub redis_server: PathBuf,
    /// A server that knows FT.SEARCH, for the case knn. By default that of SLOTWAY_STACK_SERVER, else the one that
    /// tests/run.sh or bench/setup.sh put below target.
    #[arg(long, value_name = "FILE")]
    pub stack_server: Option<PathBuf>,
}

impl Programs {
    /// The slotway binary.
    #[must_use]
    pub fn slotway(&self) -> PathBuf {
        let built_beside =
            || env::current_exe().map(|path| path.with_file_name("slotway")).unwrap_or_default();
        self.slotway.clone().unwrap_or_else(built_beside)
    }

    /// The server that knows FT.SEARCH.
    #[must_use]
    pub fn stack_server(&self) -> PathBuf {
        let named =
            || self.stack_server.clone().or_else(|| env::var_os("SLOTWAY_STACK_SERVER").map(PathBuf::from));
        named().unwrap_or_else(|| {
            // This program lies in target/release or target/debug.
            let exe = env::current_exe().unwrap_or_default();
            let target = exe.parent().and_then(Path::parent).unwrap_or_else(|| Path::new("target"));
            let [tests, setup] =
                ["venv", "peers"].map(|dir| target.join(dir).join("stack/redis-stack-server"));
            if tests.is_file() { tests } else { setup }
        })
    }
}

/// The absolute path of a program, looked for on PATH where it is a bare name.
#[must_use]
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return fs::canonicalize(program).ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// What a report says where a program was not found, and how to get it.
#[must_use]
pub fn missing(name: &str, program: &Path, remedy: &str) -> String {
    format!("{name} is left out: no {} ({remedy})", program.display())
}

/// How twemproxy is got.
pub const TWEMPROXY_REMEDY: &str = "bench/setup.sh, or --nutcracker FILE";
/// How Envoy is got.
pub const ENVOY_REMEDY: &str = "bench/setup.sh, then --envoy FILE";
/// How a server with FT.SEARCH is got.
pub const STACK_REMEDY: &str = "bench/setup.sh, or --stack-server FILE";
/// How Slotway is got.
pub const SLOTWAY_REMEDY: &str = "cargo build --release";
