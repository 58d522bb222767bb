//! Which requests may wait in the server for data, and so must not share a connection.

use super::options;
use super::spec::{Keys, Refused, Spec, Treatment};
use crate::resp::request::Request;

/// Whether `request` would block: the commands that always may, and XREAD and XREADGROUP with BLOCK among
/// their options.
#[inline]
#[must_use]
pub fn is_blocking(spec: &Spec, request: &Request<'_>) -> bool {
    match spec.keys {
        Keys::Streams => options::has_block(request),
        _ => spec.treatment == Treatment::Refused(Refused::Blocking),
    }
}
