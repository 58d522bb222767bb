//! Where the settings come from, so that they can be read again as they were at the start: the same file with the
//! same flags and the same environment over it. Only the command line knows these.

use std::fmt;
use std::path::PathBuf;

use super::watched::Stamps;
use crate::config::reading::Reading;

/// Reads the settings again, and changes what the log shows.
pub struct Origin {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    filter_log: Box<dyn Fn(&str) + Send + Sync>,
    /// What the files were like before the first reading.
    first: Stamps,
}

/// How often files are read again when the settings name others than those that were looked at before.
const MOST_READINGS: usize = 3;

impl Origin {
    /// `read` reads everything anew.
    #[must_use]
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), filter_log: Box::new(|_| ()), first: Stamps::default() }
    }

    /// Reads the settings for the first time.
    pub fn begin(&mut self) -> Reading {
        let (stamps, reading) = self.read(Vec::new());
        self.first = stamps;
        reading
    }

    /// What the files were like before [`Self::begin`].
    #[must_use]
    pub fn first(&self) -> &Stamps {
        &self.first
    }

    /// Reads the settings anew, and tells what the files were like before: what changes while they are read is seen
    /// later. `files` are those of the last reading. Waits for files: not for a thread that others wait for.
    #[must_use]
    pub fn read(&self, files: Vec<PathBuf>) -> (Stamps, Reading) {
        let mut stamps = Stamps::of(files);
        let mut reading = (self.read)();
        for _ in 1..MOST_READINGS {
            if stamps.cover(&reading.files) {
                break;
            }
            stamps = Stamps::of(reading.files.iter().cloned());
            if stamps.unrepeatable().is_some() {
                break;
            }
            reading = (self.read)();
        }
        // Those that are named no more are looked at no more.
        stamps.keep(&reading.files);
        (stamps, reading)
    }

    /// `filter_log` is told a new `log.filter`.
    pub fn set_filter_log(&mut self, filter_log: Box<dyn Fn(&str) + Send + Sync>) {
        self.filter_log = filter_log;
    }

    /// From here on the log shows this.
    pub fn filter_log(&self, filter: &str) {
        (self.filter_log)(filter);
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::env;
    use std::sync::Mutex;

    use super::*;
    use crate::config::written::Written;

    fn reading(files: Vec<PathBuf>) -> Reading {
        Reading { files, ..Written::default().read() }
    }

    #[test]
    fn files_that_were_not_looked_at_before_are_read_once_more() {
        let (file, count) = (env::temp_dir().join("slotway-origin"), Mutex::new(Cell::new(0)));
        let named = file.clone();
        let mut origin = Origin::new(move || {
            let count = count.lock().unwrap();
            count.set(count.get() + 1);
            assert!(count.get() <= 3, "twice at first, then once");
            reading(vec![named.clone()])
        });
        let _ = origin.begin();
        assert!(origin.first().files().eq([&file]));
        let (stamps, _) = origin.read(vec![file.clone()]);
        assert!(stamps.files().eq([&file]));
    }

    #[test]
    fn what_gives_its_bytes_once_is_read_once() {
        let count = Mutex::new(Cell::new(0));
        let mut origin = Origin::new(move || {
            let count = count.lock().unwrap();
            count.set(count.get() + 1);
            assert_eq!(count.get(), 1);
            reading(vec![PathBuf::from("/dev/null")])
        });
        let _ = origin.begin();
        assert_eq!(origin.first().unrepeatable(), Some(&PathBuf::from("/dev/null")));
    }
}
