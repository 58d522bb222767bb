//! What can be wrong with a file of certificates or keys. None of these repeats what a file holds: it may be a key.

use std::path::Path;

/// Why certificates can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file can't be opened or read.
    #[error("{file}: cannot be read: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// The file is larger than any that makes sense.
    #[error("{file}: has {bytes} bytes, must not have more than {most}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// A section of the file is broken.
    #[error("{file}: not PEM: {reason}")]
    NotPem {
        /// The file.
        file: String,
        /// What is broken.
        reason: &'static str,
    },
    /// No section of the wanted kind.
    #[error("{file}: holds no {wanted}")]
    Lacks {
        /// The file.
        file: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The key belongs to another certificate.
    #[error("{key}: is not the key of the first certificate in {certificate}")]
    OtherKey {
        /// The key's file.
        key: String,
        /// The certificate's file.
        certificate: String,
    },
    /// The system's own authorities can't be used.
    #[error("the system's certification authorities can't be used: {reason}")]
    System {
        /// The reason.
        reason: String,
    },
    /// What is in the file can't be used.
    #[error("{file}: {reason}")]
    Unusable {
        /// The file.
        file: String,
        /// The reason.
        reason: String,
    },
}

impl CertificateError {
    /// What is in `file` can't be used for this reason.
    pub(super) fn unusable(file: &Path, reason: impl ToString) -> Self {
        Self::Unusable { file: shown(file), reason: reason.to_string() }
    }
}

/// A file's name as it is told.
pub(super) fn shown(file: &Path) -> String {
    file.display().to_string()
}
