//! Error replies that prove a command did not run, so that it may be sent again.

use crate::cluster::slot_map::Endpoint;

/// Where, or when, a command that did not run is to be sent again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// The slot belongs to this node now.
    Moved(Endpoint),
    /// This node imports the slot: ask it this once.
    Ask(Endpoint),
    /// Keys of the request are on both sides of a migration: again in a moment.
    TryAgain,
    /// The node reads its data: again in a moment.
    Loading,
    /// The cluster serves the slot nowhere for now: again in a moment, with a fresh topology.
    ClusterDown,
    /// The node became a replica: again with a fresh topology.
    ReadOnly,
}

// Longest error line that can be one of these; a host name has 255 bytes at most.
const LINE_LIMIT: usize = 512;

impl Redirect {
    /// Reads an error reply that `node` gave; `None` for an error that is the command's own answer.
    ///
    /// Texts are compared as far as the servers fix them, so that a script's own `error_reply` is not taken
    /// for a redirect; and an error that a script was stopped by ends in ` script: ...`: the script ran.
    #[must_use]
    pub fn parse(reply: &[u8], node: &Endpoint) -> Option<Self> {
        let line = reply.strip_prefix(b"-")?.strip_suffix(b"\r\n")?;
        if line.len() > LINE_LIMIT {
            return None;
        }
        let line = std::str::from_utf8(line).ok()?;
        let (code, text) = line.split_once(' ')?;
        match code {
            "MOVED" => moved(text, node).map(Self::Moved),
            "ASK" => moved(text, node).map(Self::Ask),
            _ if text.contains(" script: ") => None,
            "TRYAGAIN" if text.starts_with("Multiple keys request") => Some(Self::TryAgain),
            "LOADING" if text.contains("is loading the dataset in memory") => Some(Self::Loading),
            "CLUSTERDOWN" if text.contains("Hash slot not served") || text.contains("cluster is down") => {
                Some(Self::ClusterDown)
            }
            "READONLY" if text.starts_with("You can't write against a read only") => Some(Self::ReadOnly),
            // A client that waits is woken when its server's role changes; a CLIENT UNBLOCK says other words.
            "UNBLOCKED" if text.starts_with("force unblock") => Some(Self::ReadOnly),
            // Deleted, or gone to another node with its slot: nothing was read.
            "UNBLOCKED" if text.starts_with("the stream key no longer exists") => Some(Self::TryAgain),
            "MASTERDOWN" if text.starts_with("Link with MASTER is down") => Some(Self::ClusterDown),
            _ => None,
        }
    }
}

/// What a server lacks that was asked to run a script or a function: it ran nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// The script of this name.
    Script,
    /// The function.
    Function,
    /// Nothing: the body is no script, and no server takes it.
    Compiles,
}

impl Lack {
    /// Reads an error reply. A script can say the same words: a request that calls one goes again once at most.
    #[must_use]
    pub fn parse(error: &[u8]) -> Option<Self> {
        match error.strip_prefix(b"-")? {
            text if text.starts_with(b"NOSCRIPT No matching script") => Some(Self::Script),
            b"ERR Function not found\r\n" => Some(Self::Function),
            text if text.starts_with(b"ERR Error compiling script") => Some(Self::Compiles),
            _ => None,
        }
    }
}

/// Whether an error reply to this request may be a client's own text: a script returns what error it likes,
/// a redirect among them. We go to no node, and show no password to any, on its word alone.
#[must_use]
pub fn may_be_forged(request: &[u8]) -> bool {
    // The count, the name's length, the name.
    let name = request.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    [&b"EVAL"[..], b"FCALL", b"TFCALL"]
        .iter()
        .any(|script| name.get(..script.len()).is_some_and(|start| start.eq_ignore_ascii_case(script)))
}

/// The endpoint of `<slot> <host>:<port>`; an empty host or `?` means the node that said it.
fn moved(text: &str, node: &Endpoint) -> Option<Endpoint> {
    let (slot, endpoint) = text.split_once(' ')?;
    slot.parse::<u16>().ok()?;
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "?" => node.host.clone(),
        host => host.into(),
    };
    Some(Endpoint { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    fn parse(reply: &str) -> Option<Redirect> {
        Redirect::parse(reply.as_bytes(), &endpoint("asked", 1))
    }

    #[test]
    fn moved_and_ask_name_a_node() {
        assert_eq!(
            parse("-MOVED 3999 127.0.0.1:6381\r\n"),
            Some(Redirect::Moved(endpoint("127.0.0.1", 6381)))
        );
        assert_eq!(parse("-ASK 3999 db.example:6381\r\n"), Some(Redirect::Ask(endpoint("db.example", 6381))));
        assert_eq!(parse("-MOVED 3999 ::1:6381\r\n"), Some(Redirect::Moved(endpoint("::1", 6381))));
        assert_eq!(parse("-MOVED 3999 :6381\r\n"), Some(Redirect::Moved(endpoint("asked", 6381))));
        assert_eq!(parse("-MOVED 3999 ?:6381\r\n"), Some(Redirect::Moved(endpoint("asked", 6381))));
    }

    #[test]
    fn states_of_the_node_are_recognised_by_the_servers_own_words() {
        for (reply, redirect) in [
            ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", Redirect::TryAgain),
            ("-LOADING Redis is loading the dataset in memory\r\n", Redirect::Loading),
            ("-LOADING Valkey is loading the dataset in memory\r\n", Redirect::Loading),
            ("-UNBLOCKED the stream key no longer exists\r\n", Redirect::TryAgain),
            ("-CLUSTERDOWN Hash slot not served\r\n", Redirect::ClusterDown),
            ("-CLUSTERDOWN The cluster is down\r\n", Redirect::ClusterDown),
            ("-READONLY You can't write against a read only replica.\r\n", Redirect::ReadOnly),
            (
                "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
                Redirect::ReadOnly,
            ),
        ] {
            assert_eq!(parse(reply), Some(redirect), "{reply}");
        }
    }

    #[test]
    fn what_a_server_lacks_is_told_by_its_words() {
        for (error, lack) in [
            ("-NOSCRIPT No matching script. Please use EVAL.\r\n", Some(Lack::Script)),
            ("-NOSCRIPT No matching script.\r\n", Some(Lack::Script)),
            ("-ERR Function not found\r\n", Some(Lack::Function)),
            ("-ERR Error compiling script (new function): user_script:1: x\r\n", Some(Lack::Compiles)),
            ("-NOSCRIPT none\r\n", None),
            ("-ERR Function not found, it says\r\n", None),
            ("+NOSCRIPT No matching script\r\n", None),
        ] {
            assert_eq!(Lack::parse(error.as_bytes()), lack, "{error}");
        }
    }

    #[test]
    fn scripts_can_say_anything() {
        for (request, forged) in [
            ("*3\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n", true),
            ("*3\r\n$10\r\nevalsha_ro\r\n$1\r\nx\r\n$1\r\n0\r\n", true),
            ("*3\r\n$5\r\nFCall\r\n$1\r\nx\r\n$1\r\n0\r\n", true),
            ("*2\r\n$3\r\nGET\r\n$4\r\nEVAL\r\n", false),
            ("*1\r\n$3\r\nEVA\r\n", false),
            ("", false),
        ] {
            assert_eq!(may_be_forged(request.as_bytes()), forged, "{request}");
        }
    }

    #[test]
    fn a_commands_own_error_is_no_redirect() {
        for reply in [
            "-ERR unknown command\r\n",
            "-TRYAGAIN later\r\n",
            "-MOVED\r\n",
            "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
            "-MOVED x y:z\r\n",
            "-MOVED 1 host:99999\r\n",
            "-READONLY You can't write against a read only replica. script: abc, on @user_script:1.\r\n",
            "+OK\r\n",
        ] {
            assert_eq!(parse(reply), None, "{reply}");
        }
    }
}
