//! A blocking client over TLS, and what it believes and shows.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::argv::{frame, words};
use crate::certs::{Authority, Issued};
use crate::raw::PATIENCE;
use crate::value::{FrameEnd, Value};

/// How to connect.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    authority: PathBuf,
    shows: Option<Issued>,
    name: String,
    versions: &'static [&'static SupportedProtocolVersion],
}

static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];

/// A connection.
#[derive(Debug)]
pub struct TlsRaw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl TlsOptions {
    /// Believes this authority, asks for `localhost`, shows no certificate.
    #[must_use]
    pub fn new(authority: &Authority) -> Self {
        Self { authority: authority.file.clone(), shows: None, name: "localhost".to_owned(), versions: BOTH }
    }

    /// Shows this certificate.
    #[must_use]
    pub fn showing(self, certificate: &Issued) -> Self {
        Self { shows: Some(certificate.clone()), ..self }
    }

    /// Asks for this server's name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Speaks TLS 1.2 alone.
    #[must_use]
    pub fn only_12(self) -> Self {
        Self { versions: ONLY_12, ..self }
    }

    /// Connects and shakes hands, so many times.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    #[must_use]
    pub fn connect_many(&self, addr: &str, count: usize) -> Vec<TlsRaw> {
        let config = self.config();
        let connect = |_| self.connect_with(addr, &config).unwrap_or_else(|error| panic!("no TLS: {error}"));
        (0..count).map(connect).collect()
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// The socket's; `InvalidData` where TLS refuses.
    ///
    /// # Panics
    /// Where the options' files can't be read.
    pub fn try_connect(&self, addr: &str) -> io::Result<TlsRaw> {
        self.connect_with(addr, &self.config())
    }

    fn connect_with(&self, addr: &str, config: &Arc<ClientConfig>) -> io::Result<TlsRaw> {
        let tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsRaw { stream, unread: Vec::new() })
    }

    /// Connects and shakes hands.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    #[must_use]
    pub fn connect(&self, addr: &str) -> TlsRaw {
        self.try_connect(addr).unwrap_or_else(|error| panic!("no TLS with {addr}: {error}"))
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority).expect("PEM")).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let chain = vec![CertificateDer::from_pem_file(&shown.certificate).expect("PEM")];
                let key = PrivateKeyDer::from_pem_file(&shown.key).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a certificate")
            }
        };
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

impl TlsRaw {
    /// Sends a command line and reads its reply.
    ///
    /// # Panics
    /// Where the connection is broken.
    #[track_caller]
    pub fn cmd(&mut self, line: &str) -> Value {
        self.call(&words(line))
    }

    /// Sends `argv` and reads its reply.
    ///
    /// # Panics
    /// As [`Self::cmd`].
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Value {
        self.try_call(argv).unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Sends `argv` and reads its reply.
    ///
    /// # Errors
    /// The connection's.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<Value> {
        self.send_bytes(&frame(argv))?;
        self.read()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection's.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection's.
    pub fn read(&mut self) -> io::Result<Value> {
        let mut end = FrameEnd::default();
        loop {
            let found = end.find(&self.unread).map_err(io::Error::other)?;
            if let Some(length) = found {
                let rest = self.unread.split_off(length);
                return Ok(Value::decode(&std::mem::replace(&mut self.unread, rest)));
            }
            let mut chunk = [0; 64 * 1024];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }

    /// Says by TLS that nothing more is sent; the socket stays open.
    ///
    /// # Errors
    /// The socket's.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.conn.complete_io(&mut self.stream.sock).map(drop)
    }

    /// Whether the other side ends the connection by saying so, and sends nothing before.
    #[must_use]
    pub fn is_closed_politely(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// The server's certificate.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    }

    /// The socket below.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }
}
