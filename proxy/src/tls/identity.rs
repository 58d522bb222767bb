//! Who a TLS client is, as far as TLS tells: the name it asked for, and the names in its certificate.
//!
//! A certificate is read here only once it was believed. Even so nothing is trusted in it: lengths are checked, and
//! a name that is no plain text is left out, as if it were not there.

use std::fmt;

/// What is known of a TLS client. One small box a client, and none for plain ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerIdentity {
    /// The server's name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// Whom its certificate speaks of; only where it showed one that was believed.
    pub certificate: Option<Box<Subject>>,
}

/// Whom a certificate speaks of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subject {
    /// The subject's last common name.
    pub common_name: Option<Box<str>>,
    /// Alternative names: host names, in lower case.
    pub dns_names: Box<[Box<str>]>,
    /// Alternative names: URIs, such as SPIFFE's.
    pub uris: Box<[Box<str>]>,
    /// Alternative names: addresses of e-mail.
    pub emails: Box<[Box<str>]>,
}

impl Subject {
    /// Every name that it speaks of, as settings write them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let common = self.common_name.iter().map(|name| format!("CN={name}"));
        let hosts = self.dns_names.iter().map(|name| format!("DNS:{name}"));
        let uris = self.uris.iter().map(|name| format!("URI:{name}"));
        let emails = self.emails.iter().map(|name| format!("email:{name}"));
        common.chain(hosts).chain(uris).chain(emails)
    }
}

// Of each kind; more than any certificate of a client has.
const MOST_NAMES: usize = 64;
const LONGEST_NAME: usize = 1_024;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
/// UTF8String, PrintableString, IA5String: those whose bytes are UTF-8.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

impl Subject {
    /// Of a certificate in DER; `None` where it has another shape than X.509 says.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut whole = Der(Der(certificate).expect(SEQUENCE)?);
        let mut fields = Der(whole.expect(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        // Serial number, algorithm, issuer, validity.
        for _ in 0..4 {
            fields.next()?;
        }
        let mut subject = Self { common_name: common_name(fields.expect(SEQUENCE)?), ..Self::default() };
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                subject.read_extensions(Der(value).expect(SEQUENCE)?)?;
            }
        }
        Some(subject)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Option<()> {
        let mut extensions = Der(extensions);
        while let Some((SEQUENCE, extension)) = extensions.next() {
            let mut parts = Der(extension);
            if parts.expect(OBJECT)? != ALTERNATIVE_NAMES {
                continue;
            }
            // Whether it is critical may stand between.
            while let Some((tag, value)) = parts.next() {
                if tag == OCTETS {
                    self.read_names(Der(value).expect(SEQUENCE)?);
                }
            }
        }
        Some(())
    }

    fn read_names(&mut self, names: &[u8]) {
        let (mut dns, mut uris, mut emails) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = Der(names);
        while let Some((tag, value)) = names.next() {
            let list = match tag {
                DNS => &mut dns,
                URI => &mut uris,
                EMAIL => &mut emails,
                _ => continue,
            };
            if list.len() < MOST_NAMES {
                let name = plain(value);
                list.extend(if tag == DNS {
                    name.map(|name| name.to_ascii_lowercase().into())
                } else {
                    name
                });
            }
        }
        self.dns_names = dns.into();
        self.uris = uris.into();
        self.emails = emails.into();
    }
}

fn common_name(subject: &[u8]) -> Option<Box<str>> {
    let (mut sets, mut found) = (Der(subject), None);
    while let Some((SET, set)) = sets.next() {
        let mut attributes = Der(set);
        while let Some((SEQUENCE, attribute)) = attributes.next() {
            let mut attribute = Der(attribute);
            if attribute.expect(OBJECT) == Some(COMMON_NAME) {
                let value = attribute.next().filter(|(tag, _)| TEXTS.contains(tag));
                found = value.and_then(|(_, value)| plain(value));
            }
        }
    }
    found
}

/// Text that can be compared with what a person writes: a zero or a line's end in it is somebody's trick.
fn plain(name: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(name).ok()?;
    let fits = (1..=LONGEST_NAME).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.into())
}

/// What is left of a list of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content; `None` at the end, and where the bytes are none.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)), rest)
            }
            // Nothing of a certificate is larger than 16 MiB, and DER has no other form.
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

/// For the log.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.server_name.as_deref().unwrap_or("-"))?;
        let Some(subject) = &self.certificate else { return Ok(()) };
        write!(f, " cn={}", subject.common_name.as_deref().unwrap_or("-"))?;
        for (kind, names) in [("dns", &subject.dns_names), ("uri", &subject.uris), ("email", &subject.emails)]
        {
            names.iter().try_for_each(|name| write!(f, " {kind}={name}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "an organization");
        common_names.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn names() -> Vec<SanType> {
        vec![
            SanType::DnsName("One.example".try_into().unwrap()),
            SanType::URI("spiffe://example/Two".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::Rfc822Name("three@example".try_into().unwrap()),
            SanType::DnsName("four.example".try_into().unwrap()),
        ]
    }

    #[test]
    fn the_subject_and_every_kind_of_name_are_read() {
        let subject = Subject::of(&certificate(&["ti\u{e9}r"], names())).unwrap();
        assert_eq!(subject.common_name.as_deref(), Some("ti\u{e9}r"));
        assert_eq!(*subject.dns_names, ["one.example".into(), "four.example".into()]);
        assert_eq!(*subject.uris, ["spiffe://example/Two".into()]);
        assert_eq!(*subject.emails, ["three@example".into()]);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        assert_eq!(Subject::of(&certificate(&[], Vec::new())), Some(Subject::default()));
        assert_eq!(Subject::of(b""), None);
    }

    #[test]
    fn names_that_could_be_taken_for_others_are_left_out() {
        let subject = Subject::of(&certificate(&["a\0.evil"], Vec::new())).unwrap();
        assert_eq!(subject.common_name, None);
        let mut certificate = certificate(&["a"], names());
        let at = certificate.windows(4).position(|bytes| bytes == b"four").unwrap();
        certificate[at] = 0;
        assert_eq!(*Subject::of(&certificate).unwrap().dns_names, ["one.example".into()]);
    }

    #[test]
    fn names_are_bounded() {
        let many = (0..200).map(|number| SanType::DnsName(format!("n{number}").try_into().unwrap()));
        let subject = Subject::of(&certificate(&["a".repeat(2_000).as_str()], many.collect())).unwrap();
        assert_eq!((subject.common_name, subject.dns_names.len()), (None, MOST_NAMES));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Subject::of(&bytes);
        }

        #[test]
        fn no_change_of_a_certificate_is_a_panic(changes in proptest::collection::vec(any::<(u16, u8)>(), 1..8)) {
            thread_local!(static WHOLE: Vec<u8> = certificate(&["a"], names()));
            let mut bytes = WHOLE.with(Clone::clone);
            let len = bytes.len();
            changes.iter().for_each(|&(at, byte)| bytes[usize::from(at) % len] = byte);
            let _ = Subject::of(&bytes);
            let _ = Subject::of(&bytes[..usize::from(changes[0].0) % len]);
        }
    }
}
