//! One connection's TLS, either side, without a socket and without buffers of its own: ciphertext in, plaintext and
//! ciphertext out.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

/// The keys, and what else TLS remembers of a connection.
pub(super) enum Session {
    /// A client's connection to us.
    Server(UnbufferedServerConnection),
    /// Our connection to a backend.
    Client(UnbufferedClientConnection),
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// There may be more to do with the same bytes.
    Again,
    /// More bytes of the handshake are needed.
    Handshaking,
    /// All that came was dealt with; what is to be written was encrypted.
    Done,
    /// The peer sends nothing more.
    PeerClosed,
    /// Nor do we.
    Closed,
}

/// What is to be encrypted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing<'a> {
    /// Nothing.
    Nothing,
    /// These bytes: at most one record, see [`LARGEST_RECORD`].
    Data(&'a [u8]),
    /// That we send nothing more.
    Close,
}

/// What one record carries at most.
pub(super) const LARGEST_RECORD: usize = 16 * 1024;

// A record's header, tag, type and nonce.
const RECORD_OVERHEAD: usize = 64;

impl Session {
    /// Deals with all of the ciphertext `incoming` that is whole; as [`Self::step`]. Behind an error `out` has what
    /// the peer is to be told of it.
    pub(super) fn take_in(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Plain<'_>,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        let (mut done, mut closed) = (0, false);
        loop {
            let (discard, step) = self.step(&mut incoming[done..], Outgoing::Nothing, plain, out);
            done += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => closed = true,
                Ok(_) if closed => return (done, Ok(Step::PeerClosed)),
                Err(error) => {
                    self.put_alert(&mut incoming[done..], out);
                    return (done, Err(error));
                }
                step => return (done, step),
            }
        }
    }

    /// Encrypts. `carry` is what [`Self::take_in`] has left: nothing that is whole.
    pub(super) fn encrypt(
        &mut self,
        carry: &mut Vec<u8>,
        outgoing: Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        loop {
            let mut rest = Vec::new();
            let mut plain = Plain { buf: &mut [], filled: 0, rest: &mut rest };
            let (discard, step) = self.step(carry, outgoing, &mut plain, out);
            carry.drain(..discard);
            match step? {
                Step::Done => return Ok(()),
                Step::Again | Step::PeerClosed if rest.is_empty() => {}
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// What is queued behind an error, its alert last. A step beyond that would meet the error again, which is not
    /// allowed for: the session is of no use any more.
    fn put_alert(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) {
        let mut rest = Vec::new();
        while self.common().wants_write() {
            let mut plain = Plain { buf: &mut [], filled: 0, rest: &mut rest };
            if self.step(incoming, Outgoing::Nothing, &mut plain, out).1.is_err() {
                return;
            }
        }
    }

    /// Deals with one thing of the ciphertext `incoming`: gives what it decrypts to `plain` and puts what is to be
    /// sent behind `out`. The number of bytes at the front of `incoming` that are dealt with and must not come again;
    /// the rest has to, also where only something is to be written.
    pub(super) fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: Outgoing<'_>,
        plain: &mut Plain<'_>,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Server(session) => handle(session.process_tls_records(incoming), outgoing, plain, out),
            Self::Client(session) => handle(session.process_tls_records(incoming), outgoing, plain, out),
        }
    }

    /// What is known of the peer.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }
}

fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    outgoing: Outgoing<'_>,
    plain: &mut Plain<'_>,
    out: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.put(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => grow(out, 0, |room| {
            data.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(size) => Some(size),
                EncodeError::AlreadyEncoded => None,
            })
        })
        .map(|()| Step::Again),
        // It is in `out` by now, which is sent in its order.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Handshaking),
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        Ok(ConnectionState::Closed) => Ok(Step::Closed),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let too_small = |error| match error {
                EncryptError::InsufficientSize(size) => Some(size),
                EncryptError::EncryptExhausted => None,
            };
            match outgoing {
                Outgoing::Nothing => Ok(()),
                Outgoing::Data(data) => grow(out, data.len() + RECORD_OVERHEAD, |room| {
                    traffic.encrypt(data, room).map_err(too_small)
                }),
                Outgoing::Close => {
                    grow(out, RECORD_OVERHEAD, |room| traffic.queue_close_notify(room).map_err(too_small))
                }
            }
            .map(|()| Step::Done)
        }
        // Data in front of the handshake's end is never offered, nor is anything else that is not above.
        Ok(_) => Err(Error::General("unexpected state".into())),
    };
    (discard, step)
}

/// Puts behind `out` what `put` writes, with as much room as it asks for; a `None` of its is no matter of room.
fn grow(
    out: &mut Vec<u8>,
    guess: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), Error> {
    let start = out.len();
    let mut room = guess;
    // It says at the first try how much it needs.
    for _ in 0..2 {
        out.resize(start + room, 0);
        match put(&mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(Some(size)) => room = size.required_size,
            Err(None) => break,
        }
    }
    out.truncate(start);
    Err(Error::EncryptError)
}

/// Where decrypted bytes go: into the reader's buffer, and what does not fit into one of the connection's own.
pub(super) struct Plain<'a> {
    pub(super) buf: &'a mut [u8],
    pub(super) filled: usize,
    pub(super) rest: &'a mut Vec<u8>,
}

impl Plain<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = &mut self.buf[self.filled..];
        let fits = if self.rest.is_empty() { bytes.len().min(room.len()) } else { 0 };
        room[..fits].copy_from_slice(&bytes[..fits]);
        self.filled += fits;
        self.rest.extend_from_slice(&bytes[fits..]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use proptest::prelude::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::super::acceptor::{Versions, provider};
    use super::*;

    struct Side {
        session: Session,
        carry: Vec<u8>,
        heard: Vec<u8>,
        out: Vec<u8>,
    }

    impl Side {
        fn new(session: Session) -> Self {
            Self { session, carry: Vec::new(), heard: Vec::new(), out: Vec::new() }
        }

        fn hear(&mut self, bytes: &[u8]) -> Result<Step, Error> {
            self.carry.extend_from_slice(bytes);
            let mut plain = Plain { buf: &mut [], filled: 0, rest: &mut self.heard };
            let (done, step) = self.session.take_in(&mut self.carry, &mut plain, &mut self.out);
            self.carry.drain(..done);
            step
        }

        fn say(&mut self, data: &[u8]) {
            for record in data.chunks(LARGEST_RECORD) {
                self.session.encrypt(&mut self.carry, Outgoing::Data(record), &mut self.out).unwrap();
            }
        }
    }

    static CONFIGS: LazyLock<(Arc<ServerConfig>, [Arc<ClientConfig>; 2])> = LazyLock::new(|| {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(Versions::Both.supported())
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let client = |versions: Versions| {
            let mut roots = RootCertStore::empty();
            roots.add(issued.cert.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(provider());
            let builder = builder.with_protocol_versions(versions.supported()).unwrap();
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        };
        (Arc::new(server), [client(Versions::Only12), client(Versions::Only13)])
    });

    fn sides(version: usize) -> (Side, Side) {
        let (server, clients) = &*CONFIGS;
        let name = ServerName::try_from("localhost").unwrap();
        let client = UnbufferedClientConnection::new(clients[version].clone(), name).unwrap();
        let server = UnbufferedServerConnection::new(server.clone()).unwrap();
        (Side::new(Session::Client(client)), Side::new(Session::Server(server)))
    }

    /// Passes on what `from` has to say, cut into such pieces.
    fn pass(from: &mut Side, to: &mut Side, cuts: &[usize]) {
        let bytes = std::mem::take(&mut from.out);
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            to.hear(piece).unwrap();
            rest = later;
        }
    }

    fn shake_hands(version: usize, cuts: &[usize]) -> (Side, Side) {
        let (mut client, mut server) = sides(version);
        client.hear(&[]).unwrap();
        for _ in 0..4 {
            pass(&mut client, &mut server, cuts);
            pass(&mut server, &mut client, cuts);
        }
        assert!(!client.session.common().is_handshaking() && !server.session.common().is_handshaking());
        (client, server)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn however_bytes_are_cut_what_is_said_is_heard(
            version in 0..2_usize,
            cuts in proptest::collection::vec(1..20_000_usize, 1..6),
            sizes in proptest::collection::vec(0..50_000_usize, 1..6),
        ) {
            let (mut client, mut server) = shake_hands(version, &cuts);
            let mut said = Vec::new();
            for size in sizes {
                let data: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
                client.say(&data);
                server.say(&data);
                said.extend(data);
                pass(&mut client, &mut server, &cuts);
                pass(&mut server, &mut client, &cuts);
            }
            prop_assert!(client.heard == said && server.heard == said);
            prop_assert!(client.carry.is_empty() && server.carry.is_empty());
        }

        #[test]
        fn changed_bytes_are_an_error_with_a_word_for_it_and_no_panic(
            version in 0..2_usize,
            at in any::<u16>(),
            bit in 0..8_u8,
            cuts in proptest::collection::vec(1..300_usize, 1..4),
        ) {
            let (mut client, mut server) = shake_hands(version, &[4_096]);
            server.out.clear();
            client.say(&[1; 300]);
            let mut bytes = std::mem::take(&mut client.out);
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= 1 << bit;
            bytes.extend([0; 40_000]);
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            let failed = loop {
                let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                if server.hear(piece).is_err() {
                    break true;
                }
                rest = later;
                if rest.is_empty() {
                    break false;
                }
            };
            // The version in a record's header means nothing and is not looked at.
            prop_assert!(failed && (server.heard.is_empty() || matches!(at, 1 | 2)));
            prop_assert!(!server.out.is_empty());
        }
    }

    #[test]
    fn a_side_that_says_it_has_finished_still_hears() {
        for version in 0..2 {
            let (mut client, mut server) = shake_hands(version, &[100]);
            client.say(b"last");
            client.session.encrypt(&mut client.carry, Outgoing::Close, &mut client.out).unwrap();
            let bytes = std::mem::take(&mut client.out);
            assert_eq!(server.hear(&bytes), Ok(Step::PeerClosed));
            assert_eq!(server.heard, b"last");
            server.say(b"reply");
            pass(&mut server, &mut client, &[3]);
            assert_eq!(client.heard, b"reply");
        }
    }
}
