//! ◆ Opens a backend connection: name to address, socket, handshake; each address within one timeout.

#![expect(clippy::disallowed_methods, reason = "I/O: opens backend sockets and limits how long that takes")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::io::Errno;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{info, warn};

use super::dial::{DialError, Dialer};
use super::handshake::{Handshake, HandshakeError, Progress};
use super::lane::{Lane, LoginId};
use super::logins::Logins;
use crate::backoff::Backoff;
use crate::cluster::slot_map::Endpoint;
use crate::config::settings::ClusterSettings;
use crate::dns::resolver::{DnsError, Resolver};
use crate::resp::reply::{ReplyError, ReplyScan, ReplyScanner};
use crate::stream::Stream;

/// Opens connections to the nodes of one cluster.
pub struct Connector {
    settings: ArcSwap<ClusterSettings>,
    resolver: Arc<Resolver>,
    logins: Arc<Logins>,
    dialer: Dialer,
}

/// Why a backend connection did not come up.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("{0}")]
    Dns(#[from] DnsError),
    /// TCP or TLS failed.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It refused what we said first.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// It is to log in as a user that there is not.
    #[error("no such backend user is known")]
    NoLogin,
    /// It does not speak RESP.
    #[error("{0}")]
    Reply(#[from] ReplyError),
    /// It sent more than a handshake's replies.
    #[error("unexpected bytes behind the handshake")]
    Unasked,
    /// It took too long.
    #[error("timed out")]
    TimedOut,
}

// The replies of a handshake are some hundred bytes, HELLO's with a long list of modules some thousand.
const HANDSHAKE_LIMIT: usize = 64 * 1024;

impl Connector {
    /// For the nodes of the cluster that these settings describe.
    #[must_use]
    pub fn new(
        settings: ClusterSettings,
        resolver: Arc<Resolver>,
        dialer: Dialer,
        logins: Arc<Logins>,
    ) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), resolver, dialer, logins }
    }

    /// From here on connections are opened by these settings; those there are stay.
    pub fn follow(&self, settings: &ClusterSettings) {
        if **self.settings.load() != *settings {
            self.settings.store(Arc::new(settings.clone()));
        }
    }

    /// How long a connection may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.settings.load().connect_timeout
    }

    /// The pauses between attempts.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        let (first, largest) = self.settings.load().reconnect_backoff;
        Backoff::new(first, largest)
    }

    /// A connection that is ready for requests of this lane.
    ///
    /// # Errors
    /// A [`ConnectError`]; the connection, if there was one, is closed.
    pub async fn open(&self, endpoint: &Endpoint, lane: Lane) -> Result<Stream, ConnectError> {
        let (stream, _) = self.open_with(endpoint, lane, &self.handshake(lane)?).await?;
        Ok(stream)
    }

    /// The same, together with the number that the server knows the connection by; 0 where it does not tell.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_numbered(
        &self,
        endpoint: &Endpoint,
        lane: Lane,
    ) -> Result<(Stream, u64), ConnectError> {
        let handshake = self.handshake(lane)?.asking_id();
        let (stream, handshake) = self.open_with(endpoint, lane, &handshake).await?;
        Ok((stream, handshake.id().unwrap_or_default()))
    }

    fn handshake(&self, lane: Lane) -> Result<Handshake, ConnectError> {
        let settings = self.settings.load();
        let (user, password) = (settings.user.as_deref(), settings.password.as_ref());
        let handshake = Handshake::new(lane.protocol, user, password, lane.database);
        let handshake = if lane.reads() { handshake.reading_from_replica() } else { handshake };
        Ok(match lane.login {
            LoginId::PROXY => handshake,
            tenant => handshake.becoming(self.logins.login(tenant).ok_or(ConnectError::NoLogin)?),
        })
    }

    async fn open_with(
        &self,
        endpoint: &Endpoint,
        lane: Lane,
        handshake: &Handshake,
    ) -> Result<(Stream, Handshake), ConnectError> {
        let opened = self.try_open(endpoint, handshake).await;
        match &opened {
            // Once, not for each node and worker: the settings and the servers have to be made to agree.
            Err(error) if error.is_tenants() && self.logins.note(lane.login, true) => {
                let user = self.logins.login(lane.login).map(|login| login.user).unwrap_or_default();
                warn!(node.endpoint = %endpoint, backend.user = user, %error, "a tenant's backend user is refused");
            }
            Ok(_) if lane.login != LoginId::PROXY && self.logins.note(lane.login, false) => {
                let user = self.logins.login(lane.login).map(|login| login.user).unwrap_or_default();
                info!(node.endpoint = %endpoint, backend.user = user, "a tenant's backend user is let in");
            }
            _ => {}
        }
        opened
    }

    async fn try_open(
        &self,
        endpoint: &Endpoint,
        handshake: &Handshake,
    ) -> Result<(Stream, Handshake), ConnectError> {
        let mut last = ConnectError::TimedOut;
        let limit = self.connect_timeout();
        // The resolver bounds its own time, and gives at least one address. Each has its time: one that drops
        // packets must not keep the next from being tried.
        for address in self.resolver.lookup(&endpoint.host).await? {
            let address = SocketAddr::new(address, endpoint.port);
            let connected = self.connect(address, &endpoint.host, handshake.clone());
            match timeout(limit, connected).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::TimedOut,
            }
        }
        Err(last)
    }

    async fn connect(
        &self,
        address: SocketAddr,
        host: &str,
        mut handshake: Handshake,
    ) -> Result<(Stream, Handshake), ConnectError> {
        let mut stream = self.dialer.dial(address, host).await?;
        shake_hands(&mut stream, &mut handshake).await?;
        Ok((stream, handshake))
    }
}

impl ConnectError {
    /// Whether it is about one tenant's user, and says nothing of the node.
    #[must_use]
    pub fn is_tenants(&self) -> bool {
        matches!(self, Self::NoLogin | Self::Handshake(HandshakeError::Tenant(_)))
    }

    /// Whether this process, or the machine, has as many files open as it may.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        let (Self::Io(error) | Self::Dial(DialError::Io(error))) = self else { return false };
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
}

async fn shake_hands(stream: &mut Stream, handshake: &mut Handshake) -> Result<(), ConnectError> {
    let mut bytes = Vec::new();
    handshake.request(&mut bytes);
    stream.write_all(&bytes).await?;
    bytes.clear();
    let mut scanner = ReplyScanner::default();
    loop {
        while let ReplyScan::Complete(len) = scanner.scan(&bytes)? {
            let progress = handshake.on_reply(&bytes[..len])?;
            bytes.drain(..len);
            scanner.reset();
            match progress {
                Progress::Pending => {}
                Progress::Done if bytes.is_empty() => return Ok(()),
                Progress::Done => return Err(ConnectError::Unasked),
            }
        }
        if bytes.len() > HANDSHAKE_LIMIT {
            return Err(ConnectError::Unasked);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
