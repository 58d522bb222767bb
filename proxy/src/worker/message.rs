//! What a worker can be told, and the way to tell it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::client::local::info::Counts;
use crate::client::local::list::Filter;
use crate::client::local::pubsub::{Counted, Topics};
use crate::client::monitor::Said;
use crate::entry::group::Group;
use crate::permit::Permit;

/// How others reach a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle(mpsc::UnboundedSender<Message>);

/// What a worker can be told. Unbounded, since each message has a bounded source: an accepted connection, a
/// local command of a client that waits for the answer, lines for monitors up to a limit, or the process's end.
#[derive(Debug)]
pub enum Message {
    /// Serve this client.
    Client(std::net::TcpStream, Permit, Way),
    /// Say which clients match.
    List(Filter, oneshot::Sender<String>),
    /// Close the clients that match, the one of this id behind its replies; say how many.
    Kill(Filter, u64, oneshot::Sender<usize>),
    /// End the wait of the clients that match, with an error where so; say how many were ended.
    Unblock(Filter, bool, oneshot::Sender<usize>),
    /// Say who of this tenant listens to what.
    Topics(Topics, Option<Arc<str>>, oneshot::Sender<Counted>),
    /// Count the clients that match.
    Count(Filter, oneshot::Sender<Counts>),
    /// Show this to the monitors: what another worker's clients said. Bounded by [`crate::monitors`].
    Feed(Arc<Said>),
    /// Close the monitors: something too long to be shown was said.
    CloseMonitors,
    /// Say who came by these entries, and what they carried since this was asked last.
    Groups(Arc<[Arc<str>]>, oneshot::Sender<Vec<Group>>),
    /// Tell this client (its key and generation) to connect elsewhere, in these words.
    Move(u32, u32, Vec<u8>),
    /// Close so many clients at rest that came by this entry and can't be told; where so, those too that can be.
    Retire(Arc<str>, usize, bool),
    /// Tell everybody who can be told, in these words, that the proxy is about to end.
    MoveAll(Arc<[u8]>),
    /// Say something: whoever does not hangs.
    Pulse(oneshot::Sender<()>),
    /// Close each client behind its replies; end when none is left, or after this time.
    Drain(Duration),
}

impl Message {
    /// Whether it is about what the worker's clients have done so far, in a client's name.
    pub(super) fn is_about_clients(&self) -> bool {
        matches!(
            self,
            Self::List(..) | Self::Kill(..) | Self::Unblock(..) | Self::Topics(..) | Self::Count(..)
        )
    }
}

/// How a listener's clients come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// What they speak.
    pub transport: Transport,
    /// The tenant whose own the address is.
    pub tenant: Option<Arc<str>>,
    /// Whether a PROXY header comes first.
    pub announced: bool,
}

/// What a listener's clients speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// RESP.
    Plain,
    /// RESP within TLS.
    Tls,
}

/// The receiving end of a [`WorkerHandle`].
#[derive(Debug)]
pub struct Inbox(pub(super) mpsc::UnboundedReceiver<Message>);

/// A worker's two ends.
#[must_use]
pub fn channel() -> (WorkerHandle, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (WorkerHandle(sender), Inbox(receiver))
}

impl WorkerHandle {
    /// Tells the worker; false where it has ended.
    pub fn tell(&self, message: Message) -> bool {
        self.0.send(message).is_ok()
    }
}
