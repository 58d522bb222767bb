//! Tenants: who uses the proxy, what each may say, and where its keys stand.

pub mod directory;
