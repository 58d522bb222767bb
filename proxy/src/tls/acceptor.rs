//! How TLS clients are served: which certificate they are shown by the name that they ask for, and which certificates
//! of theirs are believed. Immutable; a new one takes its place when files change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, ServerConfig, SupportedProtocolVersion, version};

use super::credentials::{Files, Pair, Stamp, read_roots};
use super::error::CertificateError;

/// The files and choices that clients are served by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFiles {
    /// Shown to clients that ask for no name, or for one that is not among [`Self::names`].
    pub default: Pair,
    /// Shown to clients that ask for this name: a host name in lower case, or one with `*.` in the place of its first
    /// label.
    pub names: Vec<(String, Pair)>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Who vouches for clients' certificates; not set exactly where clients show none.
    pub client_ca: Option<PathBuf>,
    /// What is spoken.
    pub versions: Versions,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// They are not asked for one.
    Off,
    /// They may; a wrong one is refused.
    Optional,
    /// They have to.
    Required,
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    Both,
    /// TLS 1.2 alone.
    Only12,
    /// TLS 1.3 alone.
    Only13,
}

/// Ready to shake hands with clients.
#[derive(Debug)]
pub struct Acceptor {
    default: Arc<ServerConfig>,
    names: HashMap<Box<str>, Arc<ServerConfig>>,
}

// A client needs one to come back with less work, and each costs a little memory and time.
const TICKETS: usize = 1;

static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

impl Files for ServerFiles {
    type Loaded = Acceptor;

    fn stamps(&self) -> Vec<Stamp> {
        let pairs = std::iter::once(&self.default).chain(self.names.iter().map(|(_, pair)| pair));
        let files = pairs.flat_map(|pair| [&pair.certificate, &pair.key]).chain(&self.client_ca);
        files.map(|file| Stamp::of(file)).collect()
    }

    fn load(&self) -> Result<Acceptor, CertificateError> {
        let provider = provider();
        let verifier = client_verifier(self, &provider)?;
        let config = |pair: &Pair| config(pair, self.versions, verifier.clone(), &provider);
        let mut names = HashMap::with_capacity(self.names.len());
        for (name, pair) in &self.names {
            names.insert(name.as_str().into(), Arc::new(config(pair)?));
        }
        Ok(Acceptor { default: Arc::new(config(&self.default)?), names })
    }
}

impl Acceptor {
    /// How a client is served that asks for `name`.
    #[must_use]
    pub fn config(&self, name: Option<&str>) -> &Arc<ServerConfig> {
        let named = name.filter(|_| !self.names.is_empty()).and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.names.get(name.as_str()).or_else(|| {
                let (_, domain) = name.split_once('.')?;
                self.names.get(format!("*.{domain}").as_str())
            })
        });
        named.unwrap_or(&self.default)
    }
}

impl Versions {
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Both => BOTH,
            Self::Only12 => ONLY_12,
            Self::Only13 => ONLY_13,
        }
    }
}

/// The ciphers and signatures of both sides.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config(
    pair: &Pair,
    versions: Versions,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, CertificateError> {
    let (chain, key) = pair.read()?;
    let unusable = |error: Error| CertificateError::unusable(&pair.certificate, error);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions.supported())
        .map_err(unusable)?;
    let asks = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| pair.unusable(error))?;
    // Sessions are resumed by what clients keep, so that nothing grows here. Who has to show a certificate shows it
    // each time: one that is not believed any more must not come back by a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if !asks {
        config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        config.send_tls13_tickets = TICKETS;
    }
    Ok(config)
}

fn client_verifier(
    files: &ServerFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, CertificateError> {
    let Some(file) = files.client_ca.as_ref().filter(|_| files.client_auth != ClientAuth::Off) else {
        return Ok(None);
    };
    let roots = Arc::new(read_roots(file)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    if files.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| CertificateError::unusable(file, error))
}
