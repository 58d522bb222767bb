//! ◆ The side of the process that replaces another: takes its sockets, and says when it could serve.

#![expect(clippy::disallowed_methods, reason = "I/O: waits until the clusters are known")]

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::info;

use super::ports::Offered;
use crate::admin::pages;
use crate::config::settings::Settings;
use crate::handover::door::{Door, assert_nobody};
use crate::handover::error::HandoverError;
use crate::handover::taker::Taker;
use crate::latest::Latest;

/// Whether another process is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Takeover {
    /// None is.
    #[default]
    Off,
    /// One is, or this one does not start.
    Always,
    /// One is where there is one.
    IfRunning,
}

// Often enough that nobody notices.
const LOOK: Duration = Duration::from_millis(10);

/// Asks the running process for its sockets, as `takeover` says. Gives whom to tell when this one can serve.
///
/// # Errors
/// Where there is none, or it does not give them; or there is one and nobody asked to replace it.
pub(super) fn ask(
    settings: &Settings,
    takeover: Takeover,
    offered: &mut Offered,
) -> io::Result<Option<Taker>> {
    let path = match (&settings.takeover, takeover) {
        (None, Takeover::Off) => return Ok(None),
        (None, _) => return Err(io::Error::other("--takeover needs the setting takeover: where to ask")),
        (Some(path), _) => path,
    };
    if takeover == Takeover::Off {
        return assert_nobody(path).map(|()| None).map_err(io::Error::other);
    }
    match Taker::ask(path) {
        Ok((taker, sockets)) => {
            info!(pid = taker.pid, sockets = sockets.len(), "taking over");
            offered.add(sockets);
            Ok(Some(taker))
        }
        Err(HandoverError::Nobody { .. }) if takeover == Takeover::IfRunning => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Where the next one will ask; nobody finds it yet.
///
/// # Errors
/// Where it can't be bound.
pub(super) fn bind(path: Option<&Path>) -> io::Result<Option<Door>> {
    path.map(Door::bind).transpose().map_err(io::Error::other)
}

/// Waits until this process could serve, and until the other accepts no more.
///
/// # Errors
/// Where the clusters are not known in time, or the other hangs up: it goes on.
pub(super) fn wait_for_turn(taker: &mut Option<Taker>, latest: &Latest) -> io::Result<()> {
    let Some(mut asked) = taker.take() else { return Ok(()) };
    let limit = latest.home().process.settings.takeover_timeout;
    let until = Instant::now() + limit;
    while let Err(why) = pages::readiness(&latest.clusters(), false) {
        if Instant::now() >= until {
            let why = format!("not ready within {limit:?}: {}", why.trim());
            asked.give_up(&why);
            return Err(io::Error::other(why));
        }
        sleep(LOOK);
    }
    asked.wait_for_turn().map_err(io::Error::other)?;
    *taker = Some(asked);
    Ok(())
}

/// This process serves: the other may end.
///
/// # Errors
/// Where it can't be told: it accepts again, and both would serve.
pub(super) fn serve(taker: Option<Taker>) -> io::Result<()> {
    taker.map_or(Ok(()), |taker| taker.serve().map_err(io::Error::other))
}
