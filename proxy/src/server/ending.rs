//! ◆ Waits until the process is to end, and ends it: by [`Stage`], from signals, the clock, and whoever took over.

#![expect(clippy::disallowed_methods, reason = "I/O: hears signals, reads the clock, waits")]

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::leaving::{Event, Stage};
use super::ports::Ports;
use crate::drain::Drain;
use crate::entry::group::moving;
use crate::latest::Latest;
use crate::listener::Workers;
use crate::service::notify::Notify;
use crate::worker::message::{Message, WorkerHandle};

/// The number of a push counts up for a client; this is the last that it hears.
const LAST_MOVE: u64 = u32::MAX as u64;

/// What ends the process from outside.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Hears them from here on: one that came before has ended the process at once. So before anybody is served.
    ///
    /// # Errors
    /// Where signals can't be heard.
    pub(super) fn hear(control: &Handle) -> io::Result<Self> {
        let _in_runtime = control.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What ending needs.
pub(super) struct Ending {
    pub(super) latest: Latest,
    pub(super) ports: Arc<Mutex<Ports>>,
    pub(super) clients: Workers,
    /// Of every cluster and thread.
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) drain: Drain,
    pub(super) notify: Notify,
    /// What reads the settings again, until the end begins.
    pub(super) reloading: Option<JoinHandle<()>>,
    /// What ends it from outside, and what says when another process serves in this one's place.
    pub(super) ends: (Signals, mpsc::Receiver<()>),
}

impl Ending {
    /// Serves until it is asked to end and all is answered, or its time is over.
    ///
    /// # Errors
    /// Where signals can't be heard, or a worker panicked.
    pub(super) async fn run(mut self, threads: Vec<thread::JoinHandle<()>>) -> io::Result<()> {
        let mut joined = spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
        let mut stage = Stage::Serves;
        loop {
            let event = tokio::select! {
                _ = self.ends.0.terminate.recv() => Event::Terminate,
                _ = self.ends.0.interrupt.recv() => Event::Interrupt,
                Some(()) = self.ends.1.recv() => Event::HandedOver,
                () = wait_until(stage.deadline()) => Event::Time,
                // Whoever reads settings again hears it too.
                _ = self.ends.0.hangup.recv() => {
                    self.on_hangup();
                    continue;
                }
                all_well = &mut joined => return match all_well {
                    Ok(true) => Ok(()),
                    Ok(false) | Err(_) => Err(io::Error::other("a worker panicked")),
                },
            };
            let leave_delay = self.latest.home().process.settings.leave_delay;
            let next = stage.after(event, leave_delay, Instant::now());
            self.on_event(event);
            if next != stage {
                self.enter(next);
                stage = next;
            }
        }
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Terminate => info!(signal = "SIGTERM", "asked to end"),
            Event::Interrupt => info!(signal = "SIGINT", "asked to end"),
            Event::HandedOver => {
                info!("another process serves in the place of this one");
                self.ports().leave();
            }
            Event::Time => {}
        }
    }

    fn on_hangup(&self) {
        if self.reloading.is_none() {
            warn!(signal = "SIGHUP", "these settings can't be read again");
            self.notify.reloading();
            self.notify.ready("serving; these settings can't be read again");
        }
    }

    fn enter(&self, stage: Stage) {
        let settings = self.latest.home().process.clone();
        let (grace_period, clients) = (settings.settings.grace_period, self.clients.clients());
        match stage {
            Stage::Serves => {}
            Stage::Leaves { until } => {
                self.begin("leaving");
                info!(until_drain = ?until.saturating_duration_since(Instant::now()), clients, "leaving");
                self.move_clients(until);
            }
            Stage::Drains => {
                self.begin("draining");
                info!(?grace_period, clients, "draining");
                // From here on connections are refused; topology, DNS and the admin pages go on until all is answered.
                self.ports().refuse_clients();
                self.drain_workers(grace_period);
            }
            Stage::Ends => {
                info!(clients, "ending at once");
                self.drain_workers(Duration::ZERO);
            }
        }
    }

    /// Everybody may see from here on that it ends.
    fn begin(&self, status: &str) {
        self.drain.begin();
        self.notify.stopping(status);
        if let Some(reloading) = &self.reloading {
            reloading.abort();
        }
    }

    /// Those who can be told connect again, after half of the time, to the name that they know: balancers send them
    /// elsewhere then, and on this host another process accepts them.
    fn move_clients(&self, until: Instant) {
        let seconds = until.saturating_duration_since(Instant::now()).as_secs_f64().round().max(1.0);
        let push: Arc<[u8]> = moving(LAST_MOVE, seconds as u64, None).into();
        for handle in &self.workers {
            handle.tell(Message::MoveAll(push.clone()));
        }
    }

    fn drain_workers(&self, grace_period: Duration) {
        for handle in &self.workers {
            handle.tell(Message::Drain(grace_period));
        }
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
