//! Files with certificates and keys: read, and looked at for changes.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, RootCertStore};

use super::error::{CertificateError, shown};

/// A certificate with those that vouch for it, and its key; both PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The chain, the server's or client's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Files that something is made of.
pub trait Files: Clone {
    /// What is made.
    type Loaded;

    /// When each file was written, to see later whether one was changed.
    fn stamps(&self) -> Vec<Stamp>;

    /// Reads and checks all files.
    ///
    /// # Errors
    /// The first thing that is wrong with one.
    fn load(&self) -> Result<Self::Loaded, CertificateError>;
}

/// What is compared to see whether a file was changed: when it was written, and its length. `None`: it can't be
/// looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(Option<(SystemTime, u64)>);

/// The largest file: a bundle of all public authorities has 200 KiB.
const MAX_FILE_BYTES: u64 = 4 << 20;

impl Stamp {
    /// Of this file, now.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        Self(fs::metadata(file).and_then(|found| Ok((found.modified()?, found.len()))).ok())
    }
}

impl Pair {
    /// The chain and the key, which is not yet known to belong to it.
    pub(super) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let chain = read_certificates(&self.certificate)?;
        let pem = read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                CertificateError::Lacks { file: shown(&self.key), wanted: "private key" }
            }
            error => not_pem(&self.key, &error),
        })?;
        Ok((chain, key))
    }

    /// Why what was read can't be used.
    pub(super) fn unusable(&self, error: Error) -> CertificateError {
        match error {
            Error::InconsistentKeys(_) => {
                CertificateError::OtherKey { key: shown(&self.key), certificate: shown(&self.certificate) }
            }
            Error::InvalidCertificate(_) => CertificateError::unusable(&self.certificate, error),
            error => CertificateError::unusable(&self.key, error),
        }
    }
}

/// Authorities that certificates are believed from.
pub(super) fn read_roots(file: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| CertificateError::unusable(file, error))?;
    }
    Ok(roots)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(file, &error))?;
    if certificates.is_empty() {
        return Err(CertificateError::Lacks { file: shown(file), wanted: "certificate" });
    }
    Ok(certificates)
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable =
        |error: io::Error| CertificateError::Unreadable { file: shown(file), reason: error.to_string() };
    let opened = fs::File::open(file).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(CertificateError::TooLarge { file: shown(file), bytes, most: MAX_FILE_BYTES });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    opened.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}

/// In words of our own: the parser's repeat the line, which may be of a key.
fn not_pem(file: &Path, error: &pem::Error) -> CertificateError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section begins with a wrong line",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it can't be read",
    };
    CertificateError::NotPem { file: shown(file), reason }
}
