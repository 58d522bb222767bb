//! ◆ Keeps a file at what the plan says. It is replaced whole, so that whoever reads it sees the old or the new one.

#![expect(clippy::disallowed_methods, reason = "I/O: writes files, waits, reads the clock")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::config::fleet::FleetSettings;
use crate::entry::plan::Plan;
use crate::entry::publish::files::{self, Form};
use crate::entry::publish::ledger::{Ledger, Publisher};
use crate::entry::publish::records::Records;

/// What keeping a file needs.
pub(super) struct Writer {
    pub(super) form: Form,
    pub(super) path: PathBuf,
    pub(super) fleet: Arc<FleetSettings>,
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    pub(super) ledger: Arc<Ledger>,
    /// Microseconds since 1970.
    pub(super) wall_clock: fn() -> u64,
}

/// What the file says.
#[derive(Default)]
struct Written {
    plan: Plan,
    text: String,
    records: Records,
}

/// How often it is looked whether the file still is what was written.
const LOOK: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LARGEST_PAUSE: Duration = Duration::from_secs(30);

impl Writer {
    /// Keeps the file for as long as the process runs, or until the settings change.
    pub(super) async fn run(mut self) {
        self.ledger.on_start(self.publisher());
        let mut written = Written::default();
        let mut backoff = Backoff::new(FIRST_PAUSE, LARGEST_PAUSE);
        let mut look = Instant::now();
        loop {
            let is_due = look <= Instant::now();
            let plan = self.plans.borrow_and_update().clone();
            if is_due || (backoff.failures() == 0 && files::is_worth_it(&written.plan, &plan)) {
                look = Instant::now() + LOOK;
                match self.write(&mut written, &plan).await {
                    Ok(()) => backoff.on_success(),
                    Err(error) => {
                        look = Instant::now() + backoff.on_failure(fastrand::f64());
                        self.tell(&error);
                    }
                }
            }
            tokio::select! {
                () = sleep_until(look) => {}
                changed = self.plans.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Writes what is worth it, or what is no longer there.
    async fn write(&self, written: &mut Written, plan: &Plan) -> io::Result<()> {
        let ttl = u32::try_from(self.fleet.publishers.files.ttl.as_secs()).unwrap_or(u32::MAX);
        let is_worth_it = files::is_worth_it(&written.plan, plan);
        if is_worth_it {
            let text = files::text(self.form, plan, &self.fleet, &written.records, ttl);
            let Some((text, records)) = text else { return Ok(()) };
            *written = Written { plan: plan.clone(), text, records };
        }
        if written.text.is_empty() {
            return Ok(());
        }
        let (publisher, now, at) = (self.publisher(), (self.wall_clock)() / 1_000, written.plan.at);
        let shown = self.path.display().to_string();
        if fs::read(&self.path).await.is_ok_and(|there| there == written.text.as_bytes()) {
            self.ledger.on_in_force(publisher, now, at, shown);
            return Ok(());
        }
        replace(&self.path, written.text.as_bytes()).await?;
        info!(file = %shown, publisher = publisher.name(), "published");
        self.ledger.on_published(publisher, now, at, shown);
        Ok(())
    }

    fn publisher(&self) -> Publisher {
        match self.form {
            Form::Gdnsd => Publisher::Gdnsd,
            Form::Coredns => Publisher::Coredns,
            Form::DnsEndpoint => Publisher::DnsEndpoint,
        }
    }

    /// Tells what is wrong, once until something else is.
    fn tell(&self, error: &io::Error) {
        let trouble = format!("{}: {error}", self.path.display());
        if self.ledger.on_failure(self.publisher(), "write", trouble.clone()) {
            warn!(publisher = self.publisher().name(), error = %trouble, "cannot publish");
        }
    }
}

/// A new file beside it, on the disk before it takes the old one's place.
async fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(format!(".{}", process::id()));
    let new = path.with_file_name(name);
    let replaced = async {
        let mut file = File::create(&new).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        fs::rename(&new, path).await
    };
    if let Err(error) = replaced.await {
        let _ = fs::remove_file(&new).await;
        return Err(error);
    }
    // That the name leads to the new file is on the disk too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new("."))).await?.sync_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = std::env::temp_dir().join(format!("slotway-writer-{}", process::id()));
        fs::create_dir_all(&folder).await.unwrap();
        let path = folder.join("weights");
        for text in ["one", "another"] {
            replace(&path, text.as_bytes()).await.unwrap();
            assert_eq!(fs::read_to_string(&path).await.unwrap(), text);
        }
        assert!(replace(&folder.join("no/such"), b"x").await.is_err());
        assert!(replace(&folder, b"x").await.is_err(), "a folder is no file");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).await.unwrap();
    }
}
