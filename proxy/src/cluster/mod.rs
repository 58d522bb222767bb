//! What the backends look like: slots, nodes, and the map from one to the other.

pub mod slot;
pub mod slot_map;

pub mod discovery;
pub mod learning;
pub mod link;
pub mod published;
pub mod refresh;
pub mod topology;
