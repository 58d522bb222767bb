//! What a DNS server's answer means. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{Name, RData, RecordType};
use thiserror::Error;

use super::records::AddressSet;
use super::signing::{Signed, SigningKey};

/// What became of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The name resolves to what was wanted.
    Published,
    /// The name no longer resolved to what was seen: nothing was changed.
    Differs,
}

/// Why something could not be read or published: whom an operator has to look at.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Failure {
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Its policy does not let the key do this.
    #[error("REFUSED: the server's policy does not allow it, see its allow-update, update-policy or ACL")]
    Refused,
    /// It is not the zone's primary.
    #[error("NOTAUTH: the server does not answer for the zone")]
    NotAuth,
    /// The name is not in the zone as the server has it.
    #[error("NOTZONE: the name is not in the zone")]
    NotZone,
    /// It does not know the key.
    #[error("BADKEY: the server knows no key of this name and algorithm")]
    BadKey,
    /// It has another key of the same name.
    #[error("BADSIG: the server's key of this name is another one")]
    BadSig,
    /// Clocks differ.
    #[error("BADTIME: the server's clock and ours differ by more than five minutes")]
    BadTime,
    /// Any other error.
    #[error("the server answers {0}")]
    Code(String),
    /// An answer to an update that is not signed, so that anybody can have written it.
    #[error("the answer is not signed")]
    Unsigned,
    /// An answer that is signed wrongly.
    #[error("the answer's signature is wrong: {0}")]
    Unverified(String),
    /// The name is an alias: it can't have addresses as well.
    #[error("the name is a CNAME in the zone, which has to be removed first")]
    Alias,
    /// No message, or not the answer to ours.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl Failure {
    /// A word for metrics, one for each kind of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NotAuth => "notauth",
            Self::NotZone => "notzone",
            Self::BadKey => "badkey",
            Self::BadSig => "badsig",
            Self::BadTime => "badtime",
            Self::Code(_) => "code",
            Self::Unsigned | Self::Unverified(_) => "unverified",
            Self::Alias => "alias",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether another server may do better.
    #[must_use]
    pub fn is_of_one_server(&self) -> bool {
        !matches!(self, Self::Alias)
    }
}

/// What the answer to an update says that was sent as `sent`; `now` is in seconds since 1970.
///
/// # Errors
/// Why it is not published, where that is not [`Outcome::Differs`].
pub fn of_update(answer: &[u8], sent: &Signed, key: &SigningKey, now: u64) -> Result<Outcome, Failure> {
    let message = read(answer, &sent.bytes, OpCode::Update)?;
    let code = message.metadata.response_code;
    let Some(signature) = message.signature() else {
        // An error can't hurt, whoever wrote it: it says more than that it is not signed.
        return Err(failure(code).unwrap_or(Failure::Unsigned));
    };
    match signature.data.error {
        Some(TsigError::BadKey) => return Err(Failure::BadKey),
        Some(TsigError::BadSig) => return Err(Failure::BadSig),
        // It is signed, with the time of the request, by a server that finds that time wrong.
        Some(TsigError::BadTime) => return Err(Failure::BadTime),
        Some(error) => return Err(Failure::Code(format!("TSIG error {}", u16::from(error)))),
        None => key.verify(answer, &sent.mac, now)?,
    }
    match code {
        ResponseCode::NoError => Ok(Outcome::Published),
        ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::YXDomain | ResponseCode::NXDomain => {
            Ok(Outcome::Differs)
        }
        code => Err(failure(code).unwrap_or_else(|| Failure::Code(code.to_string()))),
    }
}

/// The name's A records, as the answer to `question` says.
///
/// # Errors
/// Where it does not say.
pub fn of_a(answer: &[u8], question: &[u8], name: &Name) -> Result<AddressSet<Ipv4Addr>, Failure> {
    addresses(answer, question, name, |data| match data {
        RData::A(address) => Some(address.0),
        _ => None,
    })
}

/// The name's AAAA records, as [`of_a`].
///
/// # Errors
/// As there.
pub fn of_aaaa(answer: &[u8], question: &[u8], name: &Name) -> Result<AddressSet<Ipv6Addr>, Failure> {
    addresses(answer, question, name, |data| match data {
        RData::AAAA(address) => Some(address.0),
        _ => None,
    })
}

fn addresses<A: Ord + Copy>(
    answer: &[u8],
    question: &[u8],
    name: &Name,
    address: fn(&RData) -> Option<A>,
) -> Result<AddressSet<A>, Failure> {
    let message = read(answer, question, OpCode::Query)?;
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(failure(code).unwrap_or_else(|| Failure::Code(code.to_string()))),
    }
    // A resolver tells what it remembers.
    if !message.metadata.authoritative {
        return Err(Failure::NotAuth);
    }
    let own = || message.answers.iter().filter(|record| record.name == *name);
    if own().any(|record| record.record_type() == RecordType::CNAME) {
        return Err(Failure::Alias);
    }
    let ttl = own().filter(|record| address(&record.data).is_some()).map(|record| record.ttl).min();
    Ok(AddressSet::new(own().filter_map(|record| address(&record.data)), ttl.unwrap_or(0)))
}

/// The answer to `sent`.
fn read(answer: &[u8], sent: &[u8], op_code: OpCode) -> Result<Message, Failure> {
    let message = Message::from_vec(answer).map_err(|error| Failure::Malformed(error.to_string()))?;
    let metadata = &message.metadata;
    if sent.get(..2) != Some(&metadata.id.to_be_bytes()[..]) {
        return Err(Failure::Malformed("the answer to another message".to_owned()));
    }
    if metadata.message_type != MessageType::Response || metadata.op_code != op_code {
        return Err(Failure::Malformed("no answer".to_owned()));
    }
    if metadata.truncation {
        return Err(Failure::Malformed("cut off".to_owned()));
    }
    Ok(message)
}

/// `None` where it is no error of ours to tell, success above all.
fn failure(code: ResponseCode) -> Option<Failure> {
    Some(match code {
        ResponseCode::NoError => return None,
        ResponseCode::Refused => Failure::Refused,
        ResponseCode::NotAuth => Failure::NotAuth,
        ResponseCode::NotZone => Failure::NotZone,
        ResponseCode::BADKEY => Failure::BadKey,
        ResponseCode::BADSIG => Failure::BadSig,
        ResponseCode::BADTIME => Failure::BadTime,
        code => Failure::Code(code.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::publishers::{Algorithm, Rfc2136Settings};
    use crate::entry::publish::records::Records;
    use crate::entry::publish::update::Target;
    use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, make_tsig_record};
    use hickory_proto::rr::{Record, TSigResponseContext, TSigner};
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn key(algorithm: Algorithm, secret: &str) -> SigningKey {
        let settings = Rfc2136Settings { algorithm, ..Rfc2136Settings::sample(secret) };
        SigningKey::try_new(&settings).unwrap()
    }

    fn target() -> Target {
        Target::try_new("example.com", "redis.example.com").unwrap()
    }

    fn sent(key: &SigningKey) -> Signed {
        let wanted = Records::new(["192.0.2.1".parse().unwrap()], 15);
        key.sign(target().update(&Records::default(), &wanted, 77), NOW).unwrap()
    }

    /// What a server with this secret answers.
    fn answer(sent: &Signed, code: ResponseCode, secret: &[u8], at: u64) -> Vec<u8> {
        let mut message = Message::response(77, OpCode::Update);
        message.metadata.response_code = code;
        let name = Name::from_ascii("slotway.").unwrap();
        let signer = TSigner::new(secret.to_vec(), TsigAlgorithm::HmacSha256, name, 300).unwrap();
        let context = TSigResponseContext::new(77, at, signer, sent.mac.clone(), None);
        let signature = context.sign(&message.to_vec().unwrap()).unwrap();
        message.set_signature(signature);
        message.to_vec().unwrap()
    }

    #[test]
    fn a_signed_answer_says_what_became_of_the_update() {
        let key = key(Algorithm::HmacSha256, "c2VjcmV0");
        let sent = sent(&key);
        for (code, outcome) in [
            (ResponseCode::NoError, Ok(Outcome::Published)),
            (ResponseCode::YXRRSet, Ok(Outcome::Differs)),
            (ResponseCode::NXRRSet, Ok(Outcome::Differs)),
            (ResponseCode::NXDomain, Ok(Outcome::Differs)),
            (ResponseCode::Refused, Err(Failure::Refused)),
            (ResponseCode::NotAuth, Err(Failure::NotAuth)),
            (ResponseCode::ServFail, Err(Failure::Code("Server Failure".to_owned()))),
        ] {
            let answer = answer(&sent, code, b"secret", NOW + 2);
            assert_eq!(of_update(&answer, &sent, &key, NOW), outcome);
        }
    }

    #[test]
    fn an_answer_that_anybody_can_have_written_is_no_success() {
        let key = key(Algorithm::HmacSha256, "c2VjcmV0");
        let sent = sent(&key);
        let unsigned = |code| {
            let mut message = Message::response(77, OpCode::Update);
            message.metadata.response_code = code;
            message.to_vec().unwrap()
        };
        let outcome = |answer: &[u8]| of_update(answer, &sent, &key, NOW);
        assert_eq!(outcome(&unsigned(ResponseCode::NoError)), Err(Failure::Unsigned));
        assert_eq!(outcome(&unsigned(ResponseCode::Refused)), Err(Failure::Refused));
        let foreign = answer(&sent, ResponseCode::NoError, b"another", NOW);
        assert!(matches!(outcome(&foreign), Err(Failure::Unverified(_))));
        let mut changed = answer(&sent, ResponseCode::Refused, b"secret", NOW);
        changed[3] &= 0xf0;
        assert!(matches!(outcome(&changed), Err(Failure::Unverified(_))), "the code is signed too");
        let old = answer(&sent, ResponseCode::NoError, b"secret", NOW - 301);
        assert_eq!(outcome(&old), Err(Failure::BadTime));
        let mut other = answer(&sent, ResponseCode::NoError, b"secret", NOW);
        other[1] ^= 1;
        assert!(matches!(outcome(&other), Err(Failure::Malformed(_))), "of another question");
    }

    #[test]
    fn what_is_wrong_with_the_key_is_told() {
        let key = key(Algorithm::HmacSha512, "c2VjcmV0");
        let sent = sent(&key);
        for (error, failure) in [
            (TsigError::BadKey, Failure::BadKey),
            (TsigError::BadSig, Failure::BadSig),
            (TsigError::BadTime, Failure::BadTime),
        ] {
            let mut message = Message::response(77, OpCode::Update);
            message.metadata.response_code = ResponseCode::NotAuth;
            let tsig =
                TSIG::new(TsigAlgorithm::HmacSha512, NOW, 300, Vec::new(), 77, Some(error), Vec::new());
            let name = Name::from_ascii("slotway.").unwrap();
            message.set_signature(Box::new(make_tsig_record(name, tsig)));
            assert_eq!(of_update(&message.to_vec().unwrap(), &sent, &key, NOW), Err(failure));
        }
    }

    fn reply(change: impl Fn(&mut Message)) -> Result<AddressSet<Ipv4Addr>, Failure> {
        let question = target().question(RecordType::A, 9).to_vec().unwrap();
        let mut message = Message::response(9, OpCode::Query);
        message.metadata.authoritative = true;
        change(&mut message);
        of_a(&message.to_vec().unwrap(), &question, target().name())
    }

    #[test]
    fn addresses_are_read_from_an_authoritative_answer() {
        let record = |name: &str, address: [u8; 4]| {
            let data = RData::A(hickory_proto::rr::rdata::A(address.into()));
            Record::from_rdata(Name::from_ascii(name).unwrap(), 20, data)
        };
        let read = reply(|message| {
            message.add_answer(record("Redis.Example.com.", [192, 0, 2, 1]));
            message.add_answer(record("other.example.com.", [192, 0, 2, 9]));
        });
        assert_eq!(read, Ok(AddressSet::new([[192, 0, 2, 1].into()], 20)));
        assert_eq!(reply(|_| ()), Ok(AddressSet::default()));
        let code = |code| reply(|message| message.metadata.response_code = code);
        assert_eq!(code(ResponseCode::NXDomain), Ok(AddressSet::default()));
        assert_eq!(code(ResponseCode::Refused), Err(Failure::Refused));
        assert_eq!(reply(|message| message.metadata.authoritative = false), Err(Failure::NotAuth));
        let alias = reply(|message| {
            let target = hickory_proto::rr::rdata::CNAME(Name::from_ascii("x.example.com.").unwrap());
            let name = Name::from_ascii("redis.example.com.").unwrap();
            message.add_answer(Record::from_rdata(name, 20, RData::CNAME(target)));
        });
        assert_eq!(alias, Err(Failure::Alias));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_a_failure(
            cut in 0..200_usize,
            place in 0..200_usize,
            byte in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let key = key(Algorithm::HmacSha256, "c2VjcmV0");
            let sent = sent(&key);
            let mut bytes = answer(&sent, ResponseCode::NoError, b"secret", NOW);
            let place = place % bytes.len();
            // The signature's own record has bytes that say nothing: its time to live, say. In the header it is the bit
            // that is reserved.
            let reserved = place == 3 && bytes[place] ^ byte == 0x40;
            let same = bytes[place] == byte || reserved || place >= 12;
            bytes[place] = byte;
            let outcome = of_update(&bytes, &sent, &key, NOW);
            prop_assert!(same || outcome != Ok(Outcome::Published), "byte {place} is {byte}");
            bytes.truncate(cut);
            bytes.extend(noise);
            let _ = of_update(&bytes, &sent, &key, NOW);
            let _ = of_a(&bytes, &sent.bytes, target().name());
        }
    }
}
