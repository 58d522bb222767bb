//! The password that tests log in with, as settings have it.

/// SHA-256 of `secret`.
pub const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
