//! What a run tells the one who watches it: the report on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

/// A line that the next one replaces; only where somebody watches.
pub fn progress(text: &str) {
    if io::stderr().is_terminal() {
        // Nobody to tell where the terminal is gone.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }
}

/// A line beside the report.
pub fn say(text: &str) {
    progress("");
    // Nobody to tell where the terminal is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The report itself.
pub fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::io("writing the report"))
}
