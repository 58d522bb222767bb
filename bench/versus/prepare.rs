//! What a case's servers have beside keys, and who can't take part for lack of it.

use std::net::SocketAddr;

use slotway_bench::ask::ask;
use slotway_bench::backends::Backends;
use slotway_bench::failure::Failure;
use slotway_bench::load::codec::{Codec, SCRIPT, SCRIPT_SHA};
use slotway_bench::load::vectors::DIMENSIONS;
use slotway_bench::load::workload::Mix;

use crate::case::{Case, Needs, VECTOR_PREFIX};
use crate::contender::Running;

/// What a server says where the index is there already.
const EXISTS: &str = "already exists";

/// Longest beginning of an answer that a reason quotes.
const QUOTED: usize = 80;

/// Prepares all servers.
pub(crate) fn servers(case: &Case, backends: &Backends) -> Result<(), Failure> {
    match case.needs {
        Needs::Nothing => Ok(()),
        Needs::Script => backends.all().try_for_each(|server| load_script(server.address)),
        Needs::Search => {
            let workload = case.plan.workload;
            let indexes = backends.direct(&workload).indexes(&Codec::new(&workload));
            indexes.iter().try_for_each(|(node, name)| create_index(*node, name))
        }
    }
}

/// Prepares what stands behind `one`, should it have servers of its own, and asks it once for what the case is about;
/// its words where it can't take part.
pub(crate) fn contender(case: &Case, one: &Running) -> Option<String> {
    let address = one.address?;
    let workload = case.plan.workload;
    let codec = Codec::new(&workload);
    let [first, second] = [0, 1].map(|key| String::from_utf8_lossy(&codec.key(key)).into_owned());
    let answer = match workload.mix {
        Mix::Script => {
            // Who stands before our servers needs none, and may know no SCRIPT.
            let _ = load_script(address);
            ask(address, &["EVALSHA", SCRIPT_SHA, "1", &first]).map(|_| ())
        }
        Mix::Union => ask(address, &["SUNION", &first, &second]).map(|_| ()),
        Mix::Nearest => create_index(address, &codec.index(None)),
        Mix::Fill | Mix::GetSet(_) | Mix::Mget(_) => Ok(()),
    };
    answer.err().map(|failure| match failure {
        Failure::Answered { command, line, .. } if line.is_empty() => {
            format!("{command}: closes the connection")
        }
        Failure::Answered { command, line, .. } => {
            let line: String = line.chars().take(QUOTED).collect();
            format!("{command}: {line}")
        }
        other => other.to_string(),
    })
}

fn load_script(node: SocketAddr) -> Result<(), Failure> {
    let sha = ask(node, &["SCRIPT", "LOAD", SCRIPT])?;
    if sha == SCRIPT_SHA {
        return Ok(());
    }
    Err(Failure::Unexpected(format!("{node} calls the script {sha}, not {SCRIPT_SHA}")))
}

/// A flat index: it compares all vectors, so what is nearest is no matter of chance.
fn create_index(node: SocketAddr, name: &[u8]) -> Result<(), Failure> {
    let name = String::from_utf8_lossy(name);
    let dimensions = DIMENSIONS.to_string();
    let on = ["FT.CREATE", &name, "ON", "HASH", "PREFIX", "1", VECTOR_PREFIX];
    let schema = ["SCHEMA", "v", "VECTOR", "FLAT", "6", "TYPE", "FLOAT32", "DIM", &dimensions];
    let made = ask(node, &[&on[..], &schema[..], &["DISTANCE_METRIC", "L2"]].concat());
    match made {
        Err(Failure::Answered { line, .. }) if line.contains(EXISTS) => Ok(()),
        result => result.map(|_| ()),
    }
}
