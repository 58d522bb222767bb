//! ◆ Opens the socket to a backend and, where the settings say so, shakes hands for TLS. Its user bounds the time.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "I/O: opens backend sockets")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;

use crate::metrics::Metrics;
use crate::socket;
use crate::stream::Stream;
use crate::tls::certificates::Certificates;
use crate::tls::connector::ClientFiles;
use crate::tls::failure::HandshakeFailure;
use crate::tls::handshake;

/// How backends are connected to: all of them, for whatever purpose.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: Option<Arc<Certificates<ClientFiles>>>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// TCP failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(#[from] HandshakeFailure),
}

impl Dialer {
    /// With what these files hold; without TLS where there are none.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn load(files: Option<&ClientFiles>, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let load = |files: &ClientFiles| Certificates::load(files.clone(), metrics.clone()).map(Arc::new);
        Ok(Self { tls: files.map(load).transpose().map_err(io::Error::other)? })
    }

    /// Its certificates, to be followed.
    #[must_use]
    pub fn certificates(&self) -> Option<Arc<Certificates<ClientFiles>>> {
        self.tls.clone()
    }

    /// Whether it is over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A connection to the address of the backend that the topology calls `host`.
    ///
    /// # Errors
    /// A [`DialError`].
    pub async fn dial(&self, address: SocketAddr, host: &str) -> Result<Stream, DialError> {
        let tcp = TcpStream::connect(address).await?;
        socket::configure_backend(&tcp)?;
        match &self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some(tls) => Ok(Stream::Tls(handshake::connect(tcp, &tls.current(), host).await?)),
        }
    }
}
