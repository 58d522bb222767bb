//! Publishers: they hand the plan to those who answer for the service's name, each to an existing DNS engine. Here is what
//! they say and decide; [`crate::fleet::publish`] does it.
//!
//! * By RFC 2136 to BIND, Knot and PowerDNS: what the name is to resolve to ([`wanted`], [`records`]) becomes one message
//!   ([`update`]) that is signed ([`signing`]), whose answer is read ([`outcome`]); [`course`] says what to do next. Of several
//!   proxies the one that leads does it, the others where it does not.
//! * By [`files`] to gdnsd, CoreDNS and ExternalDNS.
//! * To those who ask about one entry, over HTTP or by HAProxy's agent-check: [`said`].
//!
//! How each fares is in the [`ledger`].

pub mod course;
pub mod files;
pub mod ledger;
pub mod outcome;
pub mod records;
pub mod said;
pub mod signing;
pub mod update;
pub mod wanted;
