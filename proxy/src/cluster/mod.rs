//! What the backends look like: slots, nodes, and the map from one to the other.

pub mod slot;
pub mod slot_map;

mod frame;
pub mod refresh;
pub mod topology;
