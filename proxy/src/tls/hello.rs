//! The first words of a TLS client, for whoever wants to know only whether somebody answers them, and its last. Pure but for the random
//! numbers in them.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};

use super::acceptor::{Versions, provider};

/// A ClientHello that asks for `name`. What comes back is not looked at, so nobody need be believed.
///
/// # Errors
/// Where `name` is no host name.
pub fn hello(name: &str) -> Result<Vec<u8>, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(Versions::Both.supported())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| Error::General("its name is no host name".into()))?;
    let mut words = Vec::new();
    ClientConnection::new(Arc::new(config), name)?
        .write_tls(&mut words)
        .map_err(|error| Error::General(error.to_string()))?;
    Ok(words)
}

/// Says that the handshake is given up, and not for any fault: the alert `user_canceled` (RFC 8446, section 6.1), as a
/// fatal one, since servers pass over the warning. It goes unencrypted, as no keys were agreed on.
pub const GOODBYE: [u8; 7] = [21, 3, 3, 0, 2, 2, 90];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_record_of_a_handshake_and_names_the_server() {
        let words = hello("redis.example.com").unwrap();
        assert_eq!(words[..2], [0x16, 0x03]);
        assert!(words.windows(17).any(|window| window == b"redis.example.com"));
        assert!(hello("no host").is_err());
    }
}
