//! What the operator wrote, gathered from its sources: a file first, then the flags that override it.
//!
//! Nothing stops at a mistake. [`Written::check`] gives the settings, or every mistake of every source.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::check::check;
use super::error::{ConfigError, ConfigErrors, Place};
use super::file::{BackendFile, File, KEYS, LoginFile};
use super::item::Item;
use super::reading::Reading;
use super::settings::{DEFAULT_CLUSTER, Settings};
use super::value::Value;

/// Largest settings file: a thousand times what a person writes.
const MAX_FILE_BYTES: usize = 16 << 20;

/// The sources read so far. Starts with the defaults.
#[derive(Default, Debug)]
pub struct Written {
    file: File,
    errors: Vec<ConfigError>,
    /// Every file that was read, or named to be.
    files: Vec<PathBuf>,
}

impl Written {
    /// Reads the file at `path`.
    pub fn read_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
        let name = path.display().to_string();
        let reason = match fs::read_to_string(path) {
            Ok(text) if text.len() <= MAX_FILE_BYTES => return self.read_text(&name, &text),
            Ok(text) => format!("{} bytes are more than {MAX_FILE_BYTES}", text.len()),
            Err(error) => error.to_string(),
        };
        let place = Place { source: Arc::from(name), line: None };
        self.errors.push(ConfigError::Unreadable { place, reason });
    }

    /// Reads the TOML `text` of a file called `name`. Where it is no TOML, what can be understood of it is
    /// still checked.
    pub fn read_text(&mut self, name: &str, text: &str) {
        let source: Arc<str> = Arc::from(name);
        let line_of =
            |offset: usize| Some(1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count());
        let (document, mistakes) = DeTable::parse_recoverable(text);
        for mistake in mistakes {
            let line = mistake.span().and_then(|span| line_of(span.start));
            let reason = mistake.message().replace('\n', ", ");
            self.errors
                .push(ConfigError::Syntax { place: Place { source: Arc::clone(&source), line }, reason });
        }
        let document = Value::from_document(document.get_ref(), &line_of);
        Item::new("", &document, &source, &mut self.errors, &mut self.files).table(KEYS, &mut self.file);
    }

    /// Sets `key` to the text `value`, as the flag `flag` says.
    pub fn set_text(&mut self, flag: &str, key: &str, value: &str) {
        self.set(flag, key, Value::text(value));
    }

    /// Sets `key` to the list `values`, as the flag `flag` says.
    pub fn set_texts(&mut self, flag: &str, key: &str, values: &[String]) {
        self.set(flag, key, Value::texts(values));
    }

    /// Sets `key` to whatever `value` is in TOML, else to the text itself.
    pub fn set_any(&mut self, flag: &str, key: &str, value: &str) {
        self.set(flag, key, Value::from_flag(value));
    }

    /// As a file with this key alone would.
    fn set(&mut self, flag: &str, key: &str, value: Value) {
        let source: Arc<str> = Arc::from(flag);
        let document = key.rsplit('.').fold(value, |value, name| Value::section(name, value));
        Item::new("", &document, &source, &mut self.errors, &mut self.files).table(KEYS, &mut self.file);
    }

    /// Takes the backend out: flags that name one replace the file's, whichever kind that was.
    pub fn forget_backend(&mut self) {
        self.file.cluster_mut(DEFAULT_CLUSTER).backend = BackendFile::default();
    }

    /// Takes the backends' user and password out, those in URLs too: flags that give a login replace the file's
    /// whole.
    pub fn forget_login(&mut self) {
        let cluster = self.file.cluster_mut(DEFAULT_CLUSTER);
        cluster.login = LoginFile::default();
        for url in cluster.backend.urls_mut() {
            url.user = None;
            url.password = None;
        }
    }

    /// The settings that were written, and the files that they depend on.
    #[must_use]
    pub fn read(mut self) -> Reading {
        let files = std::mem::take(&mut self.files);
        Reading { settings: self.check(), files }
    }

    /// The settings that were written.
    ///
    /// # Errors
    /// All mistakes of all sources, those of one source in the order of its lines.
    pub fn check(mut self) -> Result<Settings, ConfigErrors> {
        let settings = check(self.file, &mut self.errors);
        // Stable, and those without a line come last within their source: a file, then flags, then the rest.
        self.errors.sort_by_key(|error| match error.place() {
            Some(Place { line: Some(line), .. }) => (0, *line),
            Some(_) => (1, 0),
            None => (2, 0),
        });
        settings.ok_or(ConfigErrors(self.errors))
    }
}
