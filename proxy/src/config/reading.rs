//! What reading the settings came to.

use std::path::PathBuf;

use super::error::ConfigErrors;
use super::settings::Settings;

/// Settings that were read and checked.
#[derive(Debug)]
pub struct Reading {
    /// The settings, or every mistake.
    pub settings: Result<Settings, ConfigErrors>,
    /// The files that this depends on, also where one is missing: the settings' own, and those that it names.
    pub files: Vec<PathBuf>,
}
