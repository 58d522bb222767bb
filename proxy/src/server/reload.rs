//! ◆ Reads the settings again, at SIGHUP or when a file of theirs has changed, and applies them as a whole or not at
//! all.

#![expect(clippy::disallowed_methods, reason = "I/O: waits for the time to look at files")]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::backends::Backends;
use super::open_files;
use super::ports::Ports;
use crate::config::changes::Changes;
use crate::config::settings::{ReloadOn, Settings};
use crate::latest::Latest;
use crate::reload::origin::Origin;
use crate::reload::status::{Last, Status};
use crate::reload::watched::{Stamps, Watched};
use crate::service::notify::Notify;

/// How often files are looked at. A change is applied when two looks see the same, so within twice this.
const LOOK: Duration = Duration::from_millis(500);

/// What reading the settings again needs.
pub(super) struct Reload {
    origin: Arc<Origin>,
    latest: Latest,
    ports: Arc<Mutex<Ports>>,
    status: Arc<Status>,
    backends: Arc<Backends>,
    notify: Notify,
    hangup: Signal,
    watched: Watched,
}

/// Why the settings are read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    Signal,
    File,
}

impl Reload {
    /// Hears SIGHUP from here on, which would otherwise end the process.
    ///
    /// # Errors
    /// Where signals can't be heard.
    pub(super) fn new(
        origin: Origin,
        latest: Latest,
        ports: Arc<Mutex<Ports>>,
        status: Arc<Status>,
        (backends, notify): (Arc<Backends>, Notify),
    ) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let mut watched = Watched::default();
        watched.on_read(origin.first().clone());
        status.note(Last { files: watched.files().cloned().collect(), ..Last::default() });
        let origin = Arc::new(origin);
        Ok(Self { origin, latest, ports, status, backends, notify, hangup, watched })
    }

    /// Reads them again whenever there is a reason to, for ever.
    pub(super) async fn run(mut self) {
        loop {
            let reason = self.wait().await;
            self.notify.reloading();
            let became = self.read(reason).await;
            let generation = self.latest.home().process.generation;
            self.notify.ready(&format!("serving by generation {generation} of the settings; {became}"));
        }
    }

    async fn wait(&mut self) -> Reason {
        loop {
            let on = self.latest.home().process.settings.reload;
            tokio::select! {
                _ = self.hangup.recv() => match on {
                    ReloadOn::Off => {
                        warn!(signal = "SIGHUP", "settings are not read again: reload is off");
                        // Whoever asked waits for an answer.
                        self.notify.reloading();
                        self.notify.ready("serving; settings are not read again: reload is off");
                    }
                    ReloadOn::Watch | ReloadOn::Signal => return Reason::Signal,
                },
                () = sleep(LOOK), if on == ReloadOn::Watch => {
                    let files: Vec<_> = self.watched.files().cloned().collect();
                    let stamps = spawn_blocking(move || Stamps::of(files)).await;
                    if stamps.is_ok_and(|stamps| self.watched.on_look(stamps)) {
                        return Reason::File;
                    }
                }
            }
        }
    }

    /// Says what became of it, in words for an operator.
    async fn read(&mut self, reason: Reason) -> &'static str {
        const APPLIED: &str = "the settings were read again";
        const REFUSED: &str = "the settings that were read last are not valid, see the log";
        let files: Vec<_> = self.watched.files().cloned().collect();
        let read_at = (self.latest.home().process.wall_clock)();
        let mut last = Last { read_at, files: files.clone(), ..Last::default() };
        if let Some(file) = Stamps::of(files.clone()).unrepeatable() {
            last.errors.push(format!("{}: is no regular file, so it can't be read again", file.display()));
            self.refuse(&last.errors);
            self.status.note(last);
            return REFUSED;
        }
        let origin = Arc::clone(&self.origin);
        // It may wait for a disk. Only a panic or the end of the runtime keeps it from answering.
        let Ok((stamps, reading)) = spawn_blocking(move || origin.read(files)).await else { return REFUSED };
        self.watched.on_read(stamps);
        last.files = reading.files;
        match reading.settings {
            Ok(settings) => match self.apply(settings, reason) {
                Ok(changes) => last.restart = changes.restart,
                Err(error) => last.errors.push(error.to_string()),
            },
            Err(errors) => last.errors.extend(errors.0.iter().map(ToString::to_string)),
        }
        let is_applied = last.errors.is_empty();
        if !is_applied {
            self.refuse(&last.errors);
        }
        self.status.note(last);
        if is_applied { APPLIED } else { REFUSED }
    }

    /// Makes these the settings in force, as far as they can be without a restart.
    ///
    /// # Errors
    /// Where a port can't be bound; nothing has changed then.
    fn apply(&self, mut settings: Settings, reason: Reason) -> io::Result<Changes> {
        let now = self.latest.home().process.clone();
        let changes = Changes::between(&now.settings, &mut settings).map_err(io::Error::other)?;
        if !changes.restart.is_empty() {
            warn!(keys = changes.restart.join(", "), "changed, but needs a restart");
        }
        if settings == now.settings {
            info!(generation = now.generation, ?reason, "settings read again, nothing to apply");
            return Ok(changes);
        }
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = ports.bind_new(&settings)?;
        // From here on nothing fails. Those who connect now find the new tenants.
        self.latest.publish(settings);
        let home = self.latest.home();
        let next = &home.process;
        ports.follow(&next.settings, bound);
        self.backends.follow(&next.settings.clusters);
        if next.settings.clients.max_clients > now.settings.clients.max_clients {
            open_files::raise(next.settings.clients.max_clients);
        }
        if next.settings.log.filter != now.settings.log.filter {
            self.origin.filter_log(&next.settings.log.filter);
        }
        let metrics = home.metrics.control();
        metrics.config_generation.set(next.generation);
        metrics.config_reloads.add(1);
        info!(generation = next.generation, ?reason, changed = %changes, "settings applied");
        Ok(changes)
    }

    fn refuse(&self, errors: &[String]) {
        let now = self.latest.home();
        now.metrics.control().config_reload_failures.add(1);
        errors.iter().for_each(|mistake| error!(%mistake, "settings can't be applied"));
        let (mistakes, generation) = (errors.len(), now.process.generation);
        error!(mistakes, generation, "the settings in force stay");
    }
}
