//! Certificates, made anew by each test: an authority, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::dir::Dir;

/// An authority with a directory that its certificates are written to.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate: what those have who believe it.
    pub file: PathBuf,
    dir: Dir,
}

/// The files of a certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Whom a client's certificate speaks of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// The subject's common name.
    pub common_name: &'a str,
    /// A host name.
    pub dns: Option<&'a str>,
    /// A URI.
    pub uri: Option<&'a str>,
    /// An address of e-mail.
    pub email: Option<&'a str>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Where the directory can't be written to.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = Dir::new("certificates");
        let file = dir.path().join("authority.pem");
        write(&file, &certificate.pem());
        Self { issuer: Issuer::new(params, key), file, dir }
    }

    /// A server's certificate for these names and addresses, in files called so.
    ///
    /// # Panics
    /// Where a name can't be one.
    #[must_use]
    pub fn server(&self, file: &str, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        // Servers of a cluster are each other's clients.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, &params)
    }

    /// A client's certificate.
    ///
    /// # Panics
    /// As [`Self::server`].
    #[must_use]
    pub fn client(&self, file: &str, who: Who<'_>) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, who.common_name);
        let name = |name: &str| name.try_into().expect("ASCII");
        params.subject_alt_names.extend(who.dns.map(|dns| SanType::DnsName(name(dns))));
        params.subject_alt_names.extend(who.uri.map(|uri| SanType::URI(name(uri))));
        params.subject_alt_names.extend(who.email.map(|email| SanType::Rfc822Name(name(email))));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, &params)
    }

    /// A file of this authority's directory.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn issue(&self, file: &str, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let issued =
            Issued { certificate: self.path(&format!("{file}.pem")), key: self.path(&format!("{file}.key")) };
        write(&issued.certificate, &certificate.pem());
        write(&issued.key, &key.serialize_pem());
        issued
    }
}

impl Issued {
    /// Puts these files in the place of others, each in one step, the key first.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn replace(&self, others: &Self) {
        for (from, to) in [(&self.key, &others.key), (&self.certificate, &others.certificate)] {
            fs::rename(from, to).expect("one file system");
        }
    }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a writable directory");
}
