//! How backends are connected to over TLS: whom we believe, what we show, and what name they have to have.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, RootCertStore};

use super::acceptor::{Versions, provider};
use super::credentials::{Files, Pair, Stamp, read_roots};
use super::error::CertificateError;

/// The files and choices that backends are connected to by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientFiles {
    /// Who vouches for the backends; `None`: whom the system believes.
    pub ca: Option<PathBuf>,
    /// The name that every backend's certificate has to have; `None`: that or the address by which it is connected
    /// to.
    pub server_name: Option<String>,
    /// What is shown to backends that ask for a certificate.
    pub pair: Option<Pair>,
}

/// Ready to shake hands with backends.
#[derive(Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// Whether a certificate can have this name.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

impl Files for ClientFiles {
    type Loaded = Connector;

    fn stamps(&self) -> Vec<Stamp> {
        let pair = self.pair.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pair.chain(&self.ca).map(|file| Stamp::of(file)).collect()
    }

    fn load(&self) -> Result<Connector, CertificateError> {
        let roots = match &self.ca {
            Some(file) => read_roots(file)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(Versions::Both.supported())
            .map_err(|error| CertificateError::System { reason: error.to_string() })?
            .with_root_certificates(roots);
        // Sessions are resumed: each client that blocks may want a connection of its own. What is kept for that is
        // bounded by rustls, for 256 servers.
        let config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = pair.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| pair.unusable(error))?
            }
        };
        // Checked with the settings.
        let server_name = self.server_name.clone().and_then(|name| ServerName::try_from(name).ok());
        Ok(Connector { config: Arc::new(config), server_name })
    }
}

impl Connector {
    /// A connection's TLS, at its beginning, to the backend that the topology calls `host`.
    pub(super) fn session(&self, host: &str) -> Result<UnbufferedClientConnection, Error> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| Error::General("its name is no host name".into()))?,
        };
        UnbufferedClientConnection::new(self.config.clone(), name)
    }
}

/// Whom the system believes.
fn system_roots() -> Result<RootCertStore, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Of all that a system believes one or the other may be too old to be read.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return Err(CertificateError::System { reason });
    }
    Ok(roots)
}
