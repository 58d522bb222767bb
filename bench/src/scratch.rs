//! A directory for configuration and logs.

use std::fs;
use std::path::PathBuf;

use crate::failure::Failure;

/// A directory of this process's own, removed when dropped.
#[derive(Debug)]
pub struct ScratchDir(pub PathBuf);

impl ScratchDir {
    /// Makes it below the system's temporary directory; `program` becomes part of its name.
    pub fn create(program: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("slotway-{program}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Failure::io("making a scratch directory"))?;
        Ok(Self(path))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}
