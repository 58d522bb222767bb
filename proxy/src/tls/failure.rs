//! Why a handshake failed, in the few kinds that are counted.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage};

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailure {
    /// What came is not TLS.
    #[error("not TLS")]
    NotTls,
    /// No version, cipher or signature in common.
    #[error("{0}")]
    Incompatible(Error),
    /// The peer's certificate is missing, or not believed.
    #[error("{0}")]
    Certificate(Error),
    /// The peer said that it does not go on.
    #[error("{0}")]
    Refused(Error),
    /// The peer only wanted to know whether somebody answers, and said so.
    #[error("cancelled by the client")]
    Cancelled,
    /// The peer breaks TLS's rules.
    #[error("{0}")]
    Protocol(Error),
    /// It said more than a handshake takes.
    #[error("too many bytes for a handshake")]
    TooLong,
    /// The connection ended.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// It took too long.
    #[error("timed out")]
    TimedOut,
}

impl From<Error> for HandshakeFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible(error),
            Error::NoCertificatesPresented
            | Error::InvalidCertificate(_)
            | Error::InvalidCertRevocationList(_) => Self::Certificate(error),
            Error::AlertReceived(AlertDescription::UserCanceled) => Self::Cancelled,
            Error::AlertReceived(_) => Self::Refused(error),
            error => Self::Protocol(error),
        }
    }
}
