//! A proxy that clients reach by TLS, and how they do.

use std::time::Duration;

use crate::certs::{Authority, Issued};
use crate::ports::Port;
use crate::proxy::{Options, Proxy};
use crate::server::Server;
use crate::tls::{TlsOptions, TlsRaw};

/// How long the proxy may take to see a changed file: it looks every two seconds.
pub const SEEN: Duration = Duration::from_secs(20);

/// A proxy with a plain and a TLS listener.
#[derive(Debug)]
pub struct Entry {
    /// The process; its plain port is [`Proxy::addr`].
    pub proxy: Proxy,
    /// The port for TLS.
    pub port: Port,
    /// Whom to believe.
    pub authority: Authority,
    /// What it shows, in files that may be replaced.
    pub certificate: Issued,
}

impl Entry {
    /// In front of what `options` says; `more` is added to the section `[tls]`.
    #[must_use]
    pub fn start(options: Options, more: &str) -> Self {
        let authority = Authority::new("tests");
        let certificate = authority.server("server", &["localhost", "127.0.0.1"]);
        Self::with(options, authority, certificate, more)
    }

    /// The same, showing this certificate.
    #[must_use]
    pub fn with(options: Options, authority: Authority, certificate: Issued, more: &str) -> Self {
        let port = Port::lease();
        let section = format!(
            "[tls]\nlisten = [\"127.0.0.1:{}\"]\ncertificate = {:?}\nkey = {:?}\n{more}",
            port.number(),
            certificate.certificate,
            certificate.key
        );
        Self { proxy: options.config(&section).start(), port, authority, certificate }
    }

    /// Where it speaks TLS.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// How to connect: believing its authority.
    #[must_use]
    pub fn options(&self) -> TlsOptions {
        TlsOptions::new(&self.authority)
    }

    /// A client that has shaken hands.
    #[must_use]
    pub fn client(&self) -> TlsRaw {
        self.options().connect(&self.addr())
    }
}

/// In front of a server of its own.
#[must_use]
pub fn over_one_server() -> (Server, Entry) {
    let server = Server::start();
    let entry = Entry::start(Options::standalone(&format!("redis://{}", server.addr())), "");
    (server, entry)
}

/// The same, where clients may or must (`auth`) show a certificate of this authority.
#[must_use]
pub fn with_client_auth(auth: &str, believed: &Authority) -> (Server, Entry) {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr())).flag("--log", "debug");
    let more = format!("client_auth = {auth:?}\nclient_ca = {:?}\n", believed.file);
    let entry = Entry::start(options, &more);
    (server, entry)
}

/// Whether a client is served; with TLS 1.3 it hears only then that its certificate was refused.
#[must_use]
pub fn is_served(options: &TlsOptions, addr: &str) -> bool {
    options
        .try_connect(addr)
        .and_then(|mut client| client.try_call(&["PING"]))
        .is_ok_and(|it| it.text() == "PONG")
}
