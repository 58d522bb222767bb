//! The `slotway` binary.

fn main() {}
