//! ◆ The connection between two processes: words, and descriptors beside them. It blocks, so it is used on threads that
//! may; each wait has its limit.

#![expect(clippy::disallowed_methods, reason = "I/O: waits, with the time in sight")]

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;

use super::error::HandoverError;
use super::words::{MAX_LINE, MAX_SOCKETS, Word};

/// One end.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    /// Bytes that were read and are no whole line yet; at most a line and a read.
    unread: Vec<u8>,
    /// Descriptors that came, in the order of the lines that they came with.
    descriptors: VecDeque<OwnedFd>,
}

impl Line {
    /// Over this connection, if the process at the other end is of the same user, or root's.
    ///
    /// # Errors
    /// Where it is not.
    pub fn new(stream: UnixStream) -> Result<Self, HandoverError> {
        let (ours, theirs) = (geteuid(), socket_peercred(&stream).map_err(io::Error::from)?.uid);
        if theirs != ours && !theirs.is_root() {
            return Err(HandoverError::Stranger { theirs: theirs.as_raw(), ours: ours.as_raw() });
        }
        stream.set_nonblocking(false)?;
        Ok(Self { stream, unread: Vec::new(), descriptors: VecDeque::new() })
    }

    /// Says a word, with a descriptor where the word needs one.
    ///
    /// # Errors
    /// Where the other end has gone, or takes nothing for as long as `within`.
    pub fn say(
        &mut self,
        word: &Word,
        descriptor: Option<BorrowedFd<'_>>,
        within: Duration,
    ) -> Result<(), HandoverError> {
        self.stream.set_write_timeout(Some(within))?;
        let line = format!("{word}\n");
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for a descriptor").into());
        }
        let mut left = line.as_bytes();
        while !left.is_empty() {
            let sent = sendmsg(&self.stream, &[IoSlice::new(left)], &mut beside, SendFlags::NOSIGNAL);
            match sent {
                Ok(sent) => {
                    left = &left[sent..];
                    // It went with the first byte.
                    beside.clear();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Hears the next word, which should be `due`.
    ///
    /// # Errors
    /// Where the other end says `failed`, something that is no word, or nothing in time; or hangs up.
    pub fn hear(&mut self, due: &'static str, within: Duration) -> Result<Word, HandoverError> {
        let until = Instant::now() + within;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let said = String::from_utf8_lossy(&line[..end]).into_owned();
                return match Word::parse(&said) {
                    Some(Word::Failed(why)) => Err(HandoverError::Failed(why)),
                    Some(word) => Ok(word),
                    None => Err(unexpected(&said, due)),
                };
            }
            if self.unread.len() >= MAX_LINE {
                return Err(unexpected(&String::from_utf8_lossy(&self.unread), due));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HandoverError::Late { due, within });
            }
            self.read(due, left)?;
        }
    }

    /// The descriptor that came with the word that was heard last.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Reads once. Too late is no error: whoever asks knows the time.
    fn read(&mut self, due: &'static str, within: Duration) -> Result<(), HandoverError> {
        self.stream.set_read_timeout(Some(within))?;
        let mut bytes = [0; MAX_LINE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let read = match recvmsg(&self.stream, into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if read.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > MAX_SOCKETS {
            return Err(io::Error::other("more descriptors than may come").into());
        }
        if read.bytes == 0 {
            return Err(HandoverError::Gone(due));
        }
        self.unread.extend_from_slice(&bytes[..read.bytes]);
        Ok(())
    }
}

fn unexpected(said: &str, due: &'static str) -> HandoverError {
    HandoverError::Unexpected { said: said.chars().take(80).collect(), due }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().unwrap();
        (Line::new(one).unwrap(), Line::new(other).unwrap())
    }

    #[test]
    fn descriptors_come_with_their_words() {
        let (mut one, mut other) = pair();
        let (held, far) = UnixStream::pair().unwrap();
        one.say(&Word::Ready, None, SOON).unwrap();
        one.say(&Word::Yours, Some(far.as_fd()), SOON).unwrap();
        one.say(&Word::Serving, Some(held.as_fd()), SOON).unwrap();
        drop((held, far));
        assert_eq!(other.hear("ready", SOON).unwrap(), Word::Ready);
        assert_eq!(other.hear("yours", SOON).unwrap(), Word::Yours);
        assert_eq!(other.hear("serving", SOON).unwrap(), Word::Serving);
        let (far, held) = (other.descriptor().unwrap(), other.descriptor().unwrap());
        assert!(other.descriptor().is_none());
        // They are the two ends of one connection still.
        rustix::io::write(&far, b"x").unwrap();
        assert_eq!(rustix::io::read(&held, &mut [0; 1]).unwrap(), 1);
    }

    #[test]
    fn whoever_talks_without_end_is_not_heard_out() {
        let (one, mut other) = pair();
        let mut stream = one.stream.try_clone().unwrap();
        io::Write::write_all(&mut stream, &[b'x'; 3 * MAX_LINE]).unwrap();
        assert!(matches!(other.hear("hello", SOON), Err(HandoverError::Unexpected { .. })));
        assert!(other.unread.len() <= 2 * MAX_LINE);
    }

    #[test]
    fn silence_hanging_up_and_giving_up_are_told_apart() {
        let (one, mut other) = pair();
        let late = other.hear("hello", Duration::from_millis(20)).unwrap_err();
        assert!(matches!(late, HandoverError::Late { due: "hello", .. }), "{late}");
        let mut one = one;
        one.say(&Word::Failed("bad settings".to_owned()), None, SOON).unwrap();
        let failed = other.hear("ready", SOON).unwrap_err();
        assert_eq!(failed.to_string(), "the other process says: bad settings");
        drop(one);
        assert!(matches!(other.hear("ready", SOON), Err(HandoverError::Gone("ready"))));
    }
}
