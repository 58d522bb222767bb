//! ◆ The side of the new process.

use std::io::ErrorKind::{ConnectionRefused, NotFound};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::time::Duration;

use super::error::HandoverError;
use super::line::Line;
use super::place::Place;
use super::words::{VERSION, Word};

/// What either side may take for what it only has to say.
pub const ANSWER: Duration = Duration::from_secs(5);

/// A conversation with the process that is to be replaced. Dropped before [`Taker::serve`], it leaves that process as it
/// was.
#[derive(Debug)]
pub struct Taker {
    line: Line,
    /// The other process's id.
    pub pid: u32,
}

/// Sockets of another process, with what each is for.
pub type Sockets = Vec<(Place, OwnedFd)>;

impl Taker {
    /// Asks the process at `path` for its sockets.
    ///
    /// # Errors
    /// Where nobody is there, or it does not give them.
    pub fn ask(path: &Path) -> Result<(Self, Sockets), HandoverError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            NotFound | ConnectionRefused => HandoverError::Nobody { path: path.to_owned(), error },
            _ => HandoverError::Io(error),
        })?;
        let mut line = Line::new(stream)?;
        line.say(&Word::Hello { version: VERSION, pid: process::id() }, None, ANSWER)?;
        let (pid, count) = match line.hear("sockets", ANSWER)? {
            Word::Sockets { pid, count } => (pid, count),
            other => return Err(unexpected(&other, "sockets")),
        };
        let mut sockets = Vec::new();
        for _ in 0..count {
            match line.hear("socket", ANSWER)? {
                Word::Socket(place) => {
                    let descriptor = line.descriptor();
                    let descriptor =
                        descriptor.ok_or_else(|| HandoverError::NoDescriptor(place.role.clone()))?;
                    sockets.push((place, descriptor));
                }
                other => return Err(unexpected(&other, "socket")),
            }
        }
        Ok((Self { line, pid }, sockets))
    }

    /// This process could serve: waits until the other accepts no more.
    ///
    /// # Errors
    /// Where the other does not say so; it accepts then.
    pub fn wait_for_turn(&mut self) -> Result<(), HandoverError> {
        self.line.say(&Word::Ready, None, ANSWER)?;
        match self.line.hear("yours", ANSWER)? {
            Word::Yours => Ok(()),
            other => Err(unexpected(&other, "yours")),
        }
    }

    /// This process accepts: the other may end.
    ///
    /// # Errors
    /// Where the other can't be told.
    pub fn serve(mut self) -> Result<(), HandoverError> {
        self.line.say(&Word::Serving, None, ANSWER)
    }

    /// This process can't serve: the other goes on. It need not hear why.
    pub fn give_up(mut self, why: &str) {
        let _ = self.line.say(&Word::Failed(why.to_owned()), None, ANSWER);
    }
}

/// It said a word that was not due.
#[must_use]
pub fn unexpected(said: &Word, due: &'static str) -> HandoverError {
    HandoverError::Unexpected { said: said.to_string(), due }
}
