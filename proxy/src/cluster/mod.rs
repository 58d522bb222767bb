//! What the backends look like: slots, nodes, and the map from one to the other.

pub mod id;
pub mod slot;
pub mod slot_map;

pub mod discovery;
pub mod learning;
pub mod link;
pub mod published;
pub mod refresh;
pub mod topology;

pub mod nearest;
pub mod readers;
pub mod replication;
pub mod watch;
