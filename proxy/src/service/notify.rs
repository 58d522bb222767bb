//! ◆ Tells the service manager how we are: datagrams to NOTIFY_SOCKET, in the words of `sd_notify(3)`.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The service manager; or nobody, who hears nothing.
#[derive(Clone, Default, Debug)]
pub struct Notify(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Notify {
    /// Whoever the environment names.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let open = || -> io::Result<_> {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            // The service manager may be busy; we are, too.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        };
        match open() {
            Ok(open) => Self(Some(Arc::new(open))),
            Err(error) => {
                warn!(%error, "the service manager can't be told anything");
                Self::default()
            }
        }
    }

    /// We serve; or the settings were read again, with what came of it.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// The settings are being read again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        if self.0.is_some() {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            self.say(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
        }
    }

    /// We end.
    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// How we are.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", line(status)));
    }

    /// We are alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often it wants to hear that we are; `None` where it does not.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let limit = number("WATCHDOG_USEC").filter(|limit| is_for_us && *limit > 0 && self.0.is_some())?;
        Some(Duration::from_micros(limit))
    }

    fn say(&self, words: &str) {
        if let Some(open) = &self.0 {
            let (socket, address) = &**open;
            if let Err(error) = socket.send_to_addr(words.as_bytes(), address) {
                warn!(%error, "the service manager did not hear us");
            }
        }
    }
}

fn line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
