//! The key that updates are signed with, and by which their answers are known (TSIG, RFC 8945). Pure.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};

use super::outcome::Failure;
use crate::config::publishers::{Algorithm, Rfc2136Settings};

/// A key that both sides know.
#[derive(Clone)]
pub struct SigningKey(TSigner);

/// A message as it is sent.
pub struct Signed {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its signature, which the answer's signature covers.
    pub mac: Vec<u8>,
}

/// By how many seconds clocks may differ: what RFC 8945 recommends.
const FUDGE: u16 = 300;

impl SigningKey {
    /// The key of the settings.
    ///
    /// # Errors
    /// Where it is none: the settings' check lets through no such.
    pub fn try_new(settings: &Rfc2136Settings) -> Result<Self, Failure> {
        let invalid = |reason: String| Failure::Malformed(reason);
        let name = Name::from_ascii(&settings.key_name).map_err(|error| invalid(error.to_string()))?;
        let algorithm = match settings.algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let secret = settings.key_bytes().ok_or_else(|| invalid("the key is not in base64".to_owned()))?;
        let signer = TSigner::new(secret, algorithm, name, FUDGE);
        signer.map(Self).map_err(|error| invalid(error.to_string()))
    }

    /// Signs at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// Where the message can't be written: it has too many records.
    pub fn sign(&self, mut message: Message, now: u64) -> Result<Signed, Failure> {
        let unwritable = |error: hickory_proto::ProtoError| Failure::Malformed(error.to_string());
        message.finalize(&self.0, now).map_err(unwritable)?;
        let mac = message.signature().map(|record| record.data.mac.clone()).unwrap_or_default();
        Ok(Signed { bytes: message.to_vec().map_err(unwritable)?, mac })
    }

    /// Whether `answer` is signed with the key and answers what was signed as `mac`; its time has to be near
    /// `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Failure::Unverified`] or [`Failure::BadTime`].
    pub fn verify(&self, answer: &[u8], mac: &[u8], now: u64) -> Result<(), Failure> {
        let verified = self.0.verify_message_byte(answer, Some(mac), true);
        let (_, signed_at, _) = verified.map_err(|error| Failure::Unverified(error.to_string()))?;
        if signed_at.abs_diff(now) > u64::from(FUDGE) {
            return Err(Failure::BadTime);
        }
        Ok(())
    }
}
