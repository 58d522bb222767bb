//! ◆ The side of the process that is replaced: gives its listening sockets to a new one, and goes on as if nothing had
//! been where that one fails.

#![expect(clippy::disallowed_methods, reason = "I/O: waits for another process")]

use std::io;
use std::os::fd::AsFd;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tracing::{info, warn};

use super::ports::Ports;
use crate::handover::door::Door;
use crate::handover::error::HandoverError;
use crate::handover::line::Line;
use crate::handover::taker::{ANSWER, unexpected};
use crate::handover::words::{MAX_SOCKETS, VERSION, Word};
use crate::latest::Latest;

// Out of descriptors: whoever asks waits.
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(50);

/// What giving needs.
#[derive(Clone)]
pub(super) struct Giving {
    pub(super) latest: Latest,
    pub(super) ports: Arc<Mutex<Ports>>,
    pub(super) control: Handle,
    /// Told once another process serves.
    pub(super) handed_over: mpsc::Sender<()>,
}

/// The socket at which this process can be asked, open until it is dropped; it goes on with the clients that it has
/// then, and nobody can ask it any more.
pub(super) struct Open {
    _door: Door,
    hearing: JoinHandle<()>,
}

/// Lets others ask, where settings say so.
///
/// # Errors
/// Where the socket can't be put in its place.
pub(super) fn open(door: Option<Door>, giving: Giving) -> io::Result<Option<Open>> {
    let Some(mut door) = door else { return Ok(None) };
    let control = giving.control.clone();
    let _in_runtime = control.enter();
    let listener = UnixListener::from_std(door.listener()?)?;
    door.open().map_err(io::Error::other)?;
    info!(path = %door.path().display(), "another process can take over");
    Ok(Some(Open { _door: door, hearing: control.spawn(giving.run(listener)) }))
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

impl Giving {
    /// Hears whoever asks, one after the other, until one serves.
    pub(super) async fn run(self, listener: UnixListener) {
        loop {
            let stream = match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "cannot hear who wants to take over");
                    sleep(PAUSE_WHEN_EXHAUSTED).await;
                    continue;
                }
            };
            let giving = self.clone();
            let given = spawn_blocking(move || giving.give(Line::new(stream)?)).await;
            match given {
                Ok(Ok(pid)) => {
                    info!(pid, "handed over");
                    // Gone is only who ends this process anyway.
                    let _ = self.handed_over.send(()).await;
                    return;
                }
                Ok(Err(error)) => warn!(%error, "not handed over: this process goes on"),
                Err(error) => warn!(%error, "handing over failed: this process goes on"),
            }
        }
    }

    /// One conversation; gives the other's process id once that one serves.
    fn give(&self, mut line: Line) -> Result<u32, HandoverError> {
        let pid = match line.hear("hello", ANSWER)? {
            Word::Hello { version: VERSION, pid } => pid,
            Word::Hello { version, .. } => {
                let why = format!("version {version} of the handover is not spoken here, only {VERSION}");
                line.say(&Word::Failed(why), None, ANSWER)?;
                return Err(HandoverError::Version(version));
            }
            other => return Err(unexpected(&other, "hello")),
        };
        info!(pid, "another process wants to take over");
        self.offer(&mut line)?;
        // The other needs its time before it says so; it gives up by the same setting.
        let limit = self.latest.home().process.settings.takeover_timeout + ANSWER;
        match line.hear("ready", limit)? {
            Word::Ready => {}
            other => return Err(unexpected(&other, "ready")),
        }
        let paused = self.ports().pause();
        for task in paused {
            // Cancelled is what it should be.
            let _ = self.control.block_on(task);
        }
        let served = line.say(&Word::Yours, None, ANSWER).and_then(|()| line.hear("serving", ANSWER));
        match served {
            Ok(Word::Serving) => Ok(pid),
            Ok(other) => {
                self.ports().resume();
                Err(unexpected(&other, "serving"))
            }
            Err(error) => {
                self.ports().resume();
                Err(error)
            }
        }
    }

    fn offer(&self, line: &mut Line) -> Result<(), HandoverError> {
        let sockets = self.ports().offer()?;
        if sockets.is_empty() || sockets.len() > MAX_SOCKETS {
            let why = if sockets.is_empty() { "this process is ending" } else { "too many sockets" };
            line.say(&Word::Failed(why.to_owned()), None, ANSWER)?;
            return Err(io::Error::other(why).into());
        }
        line.say(&Word::Sockets { pid: process::id(), count: sockets.len() }, None, ANSWER)?;
        for (place, socket) in sockets {
            line.say(&Word::Socket(place), Some(socket.as_fd()), ANSWER)?;
        }
        Ok(())
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
