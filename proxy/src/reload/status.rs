//! What became of reading the settings again, for whoever looks: no values, so no secrets.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::config::settings::Settings;
use crate::process::Process;

/// The last attempt and what it left to do.
#[derive(Debug, Default)]
pub struct Status(Mutex<Last>);

/// How the last reading ended.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// When it was, in microseconds since 1970; 0 before there was one.
    pub read_at: u64,
    /// What was wrong, one mistake a line; empty where nothing was.
    pub errors: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub restart: Vec<String>,
    /// The files that the settings depend on.
    pub files: Vec<PathBuf>,
}

// As many mistakes as a person reads.
const MOST_SHOWN: usize = 100;

impl Status {
    /// Tells how a reading ended.
    pub fn note(&self, last: Last) {
        *self.last() = last;
    }

    /// The page `/config`.
    #[must_use]
    pub fn page(&self, process: &Process) -> String {
        let last = self.last().clone();
        let mut page = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(page, "{name}: {value}");
        };
        row("generation", &process.generation.to_string());
        row("applied_at", &seconds(process.applied_at));
        row("hash", &hash(&process.settings));
        let files: Vec<_> = last.files.iter().map(|file| file.display().to_string()).collect();
        row("files", &or_none(&files.join(", ")));
        row("needs_restart", &or_none(&last.restart.join(", ")));
        row("last_read", &or_none(&if last.read_at == 0 { String::new() } else { seconds(last.read_at) }));
        row("last_error", if last.errors.is_empty() { "none" } else { "the settings in force stay" });
        for error in last.errors.iter().take(MOST_SHOWN) {
            row("error", error);
        }
        page
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Whoever panicked with it left a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The same for the same settings in proxies of one version. Passwords and their hashes are no part of it: the hash
/// of something that is known but for a password is nearly the password.
fn hash(settings: &Settings) -> String {
    // What is printed of a secret is the same for all.
    let digest = Sha256::digest(format!("{settings:?}"));
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::written::Written;

    fn settings(password: &str, clients: u32) -> Settings {
        let mut written = Written::default();
        let cluster = format!("cluster = {{ standalone = 'redis://a', password = '{password}' }}");
        let user = format!("[[users]]\npasswords_sha256 = ['{}']", password.repeat(64));
        written.read_text("f", &format!("threads = 1\n{cluster}\nclients.max_clients = {clients}\n{user}"));
        written.check().unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn the_hash_tells_settings_apart_and_nothing_of_passwords() {
        assert_eq!(hash(&settings("a", 5)), hash(&settings("b", 5)));
        assert_ne!(hash(&settings("a", 5)), hash(&settings("a", 6)));
    }
}
