//! The certificates in use, and their files: looked at now and then, and read again when one was changed.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::credentials::{Files, Stamp};
use super::error::CertificateError;
use crate::metrics::Metrics;

/// What new connections are made by: [`super::acceptor::Acceptor`] for clients, [`super::connector::Connector`] for
/// backends.
#[derive(Debug)]
pub struct Certificates<F: Files> {
    current: ArcSwap<F::Loaded>,
    files: Mutex<Looked<F>>,
    metrics: Arc<Metrics>,
}

/// The files, as they were when they were last looked at.
#[derive(Debug)]
struct Looked<F> {
    files: F,
    stamps: Vec<Stamp>,
    /// What was wrong with them then.
    error: Option<CertificateError>,
}

impl<F: Files> Certificates<F> {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn load(files: F, metrics: Arc<Metrics>) -> Result<Self, CertificateError> {
        // Looked at first: what is written while they are read is then seen as a change.
        let stamps = files.stamps();
        let current = ArcSwap::from_pointee(files.load()?);
        Ok(Self { current, files: Mutex::new(Looked { files, stamps, error: None }), metrics })
    }

    /// What the next connection is made by. Those that exist keep what they have.
    #[must_use]
    pub fn current(&self) -> Arc<F::Loaded> {
        self.current.load_full()
    }

    /// Reads the files again, whether or not they were changed; other files where `files` names them. Where something
    /// is wrong with one, all stays as it is.
    ///
    /// # Errors
    /// What is wrong.
    pub fn reload(&self, files: Option<F>) -> Result<(), CertificateError> {
        let mut looked = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.unwrap_or_else(|| looked.files.clone());
        let stamps = files.stamps();
        let loaded = files.load()?;
        *looked = Looked { files, stamps, error: None };
        self.current.store(Arc::new(loaded));
        self.metrics.control().tls_reloads.add(1);
        Ok(())
    }

    /// Reads the files again where one was changed, or where something was wrong at the last look: two files are
    /// not replaced in one moment.
    pub fn look(&self) {
        let (changed, failed) = {
            let looked = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            (looked.files.stamps() != looked.stamps, looked.error.is_some())
        };
        if !changed && !failed {
            return;
        }
        match self.reload(None) {
            Ok(()) => info!("certificates reloaded"),
            Err(error) => self.note(error),
        }
    }

    /// Tells of what is wrong, once.
    fn note(&self, error: CertificateError) {
        let mut looked = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        looked.stamps = looked.files.stamps();
        if looked.error.as_ref() != Some(&error) {
            warn!(%error, "certificates not reloaded, those in use stay");
            self.metrics.control().tls_reload_failures.add(1);
            looked.error = Some(error);
        }
    }
}
