//! Where a backend is and how to log in there: `redis[s]://[[user]:password@]host[:port][/0]`.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::settings::Secret;
use crate::cluster::slot_map::Endpoint;

/// A backend's URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendUrl {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// Who to log in as; only with a password.
    pub user: Option<String>,
    /// What to log in with.
    pub password: Option<Secret>,
}

/// Why a text is no backend URL. None of these repeats the text: it may hold a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("must start with redis:// or rediss://")]
    Scheme,
    /// No host name or address.
    #[error("the host is missing")]
    NoHost,
    /// Neither a host name nor an address.
    #[error("the host must be a host name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// The part after the last colon is no port.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// A path other than `/0`.
    #[error("the path must be empty or /0, clients choose their database with SELECT")]
    Database,
    /// `?` or `#` with something behind it.
    #[error("must end after the port, options behind ? or # are not known")]
    Options,
    /// A bad `%` sequence, or bytes that are not UTF-8.
    #[error("user and password must be percent-encoded UTF-8")]
    Percent,
    /// A user alone.
    #[error("a user needs a password, as in redis://user:password@host")]
    NoPassword,
}

/// The port of a Redis server that says nothing else.
const DEFAULT_PORT: u16 = 6379;

/// The longest name that DNS carries.
const MAX_HOST_BYTES: usize = 253;

impl BackendUrl {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let tls = text.strip_prefix("rediss://");
        let rest = tls.or_else(|| text.strip_prefix("redis://")).ok_or(UrlError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(UrlError::Options);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(UrlError::Database);
        }
        let (login, location) = match authority.rsplit_once('@') {
            Some((login, location)) => (Some(login), location),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), parse_login)?;
        Ok(Self { endpoint: parse_endpoint(location)?, tls: tls.is_some(), user, password })
    }

    /// `text` as it may be shown: whatever could be a user or a password is replaced.
    #[must_use]
    pub fn redact(text: &str) -> String {
        let Some((before, after)) = text.rsplit_once('@') else { return text.to_owned() };
        let scheme = before.find("://").map_or("", |at| &before[..at + "://".len()]);
        format!("{scheme}***@{after}")
    }
}

fn parse_login(login: &str) -> Result<(Option<String>, Option<Secret>), UrlError> {
    let (user, password) = login.split_once(':').ok_or(UrlError::NoPassword)?;
    if password.is_empty() {
        return Err(UrlError::NoPassword);
    }
    let user = if user.is_empty() { None } else { Some(percent_decode(user)?) };
    Ok((user, Some(Secret::new(percent_decode(password)?))))
}

fn parse_endpoint(location: &str) -> Result<Endpoint, UrlError> {
    let (host, port) = match location.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(UrlError::Port)?) })
        }
        None => match location.split_once(':') {
            Some((host, port)) => (checked_host(host)?, Some(port)),
            None => (checked_host(location)?, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?,
        None => DEFAULT_PORT,
    };
    Ok(Endpoint { host: Arc::from(host), port })
}

fn checked_host(host: &str) -> Result<&str, UrlError> {
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.len() > MAX_HOST_BYTES || !host.bytes().all(known) {
        return Err(UrlError::Host);
    }
    Ok(host)
}

fn percent_decode(text: &str) -> Result<String, UrlError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err(UrlError::Percent);
        };
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).map_err(|_| UrlError::Percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> String {
        BackendUrl::parse(text).unwrap().endpoint.to_string()
    }

    #[test]
    fn a_host_and_a_port_are_an_endpoint() {
        assert_eq!(endpoint("redis://cache-1.example.com:7000"), "cache-1.example.com:7000");
        assert_eq!(endpoint("redis://cache"), "cache:6379");
        assert_eq!(endpoint("redis://10.0.0.1:7000/"), "10.0.0.1:7000");
        assert_eq!(endpoint("redis://10.0.0.1/0"), "10.0.0.1:6379");
        assert_eq!(endpoint("redis://[::1]:7000"), "[::1]:7000");
        assert_eq!(endpoint("rediss://cache:7001"), "cache:7001");
        assert!(BackendUrl::parse("rediss://cache").unwrap().tls);
        assert!(!BackendUrl::parse("redis://cache").unwrap().tls);
        assert_eq!(&*BackendUrl::parse("redis://[fd00::2]").unwrap().endpoint.host, "fd00::2");
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let url = BackendUrl::parse("redis://a%40b:p%3Aq%2Fr%25@h").unwrap();
        assert_eq!(url.user.as_deref(), Some("a@b"));
        assert_eq!(url.password.unwrap().reveal(), "p:q/r%");
        let url = BackendUrl::parse("redis://:only:password@h").unwrap();
        assert_eq!(url.user, None);
        assert_eq!(url.password.unwrap().reveal(), "only:password");
    }

    #[test]
    fn each_mistake_in_a_url_has_its_own_error() {
        for (text, error) in [
            ("h:7000", UrlError::Scheme),
            ("http://h", UrlError::Scheme),
            ("redisss://h:7000", UrlError::Scheme),
            ("redis://", UrlError::NoHost),
            ("redis://:7000", UrlError::NoHost),
            ("redis://a b", UrlError::Host),
            ("redis://[::1", UrlError::Host),
            ("redis://[1.2.3.4]", UrlError::Host),
            ("redis://h:0", UrlError::Port),
            ("redis://h:65536", UrlError::Port),
            ("redis://h:", UrlError::Port),
            ("redis://::1:7000", UrlError::NoHost),
            ("redis://[::1]7000", UrlError::Port),
            ("redis://h/1", UrlError::Database),
            ("redis://h?db=1", UrlError::Options),
            ("redis://u:%zz@h", UrlError::Percent),
            ("redis://u:%f@h", UrlError::Percent),
            ("redis://u:%ff@h", UrlError::Percent),
            ("redis://user@h", UrlError::NoPassword),
            ("redis://user:@h", UrlError::NoPassword),
        ] {
            assert_eq!(BackendUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_holds_no_login() {
        assert_eq!(BackendUrl::redact("redis://u:p@h:1"), "redis://***@h:1");
        assert_eq!(BackendUrl::redact("redis://u:p/x@y@h:1"), "redis://***@h:1");
        assert_eq!(BackendUrl::redact("u:p@h"), "***@h");
        assert_eq!(BackendUrl::redact("redis://h:1"), "redis://h:1");
        assert!(!format!("{:?}", BackendUrl::parse("redis://u:hush@h")).contains("hush"));
    }
}
