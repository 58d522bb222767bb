//! COMMANDS.md is what `slotway commands` prints.

use std::fs;
use std::path::Path;

use slotway::command::promise::page;
use slotway::command::table::Table;

#[test]
fn the_page_of_commands_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COMMANDS.md");
    let written = fs::read_to_string(path).unwrap_or_default();
    let right = page(&Table::builtin());
    let stale = written.lines().zip(right.lines()).find(|(written, right)| written != right);
    assert!(
        written == right,
        "COMMANDS.md is stale at {stale:?}: `cargo run -p slotway -- commands > proxy/COMMANDS.md` makes it anew"
    );
}
