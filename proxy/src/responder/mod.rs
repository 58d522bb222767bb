//! The responder: an authoritative name server for one delegated zone, the fleet's name, for fleets without one that can
//! be told weights. Each query is answered anew by the plan. DNS messages are hickory's; what is answered is decided in
//! [`zone`] and [`answer`], how often in [`limit`].
//!
//! Not hickory-server: it starts a task for each query in an unbounded set, has no limit of TCP connections nor of
//! rates, and logs two lines a query. A name server that anybody may ask has to be bounded in all of these.

pub mod answer;
pub mod limit;
pub mod serve;
pub mod zone;
