//! What the clients of a measurement do, and the goals.

use serde::Serialize;

/// Keys that idle clients write: so few that a server measured as a peer does not grow by them.
const IDLE_KEYS: usize = 16;

/// What every client of a crowd is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// Had one SET answered and stays.
    Idle,
    /// Subscribed to the one channel that all are subscribed to.
    Subscribed,
    /// Subscribed to a channel of its own.
    SubscribedDistinct,
    /// Waits in BLPOP for an element of a list of its own, for ever.
    Blocked,
}

/// All cases, in the order of the table.
pub(crate) const CASES: [Case; 4] = [Case::Idle, Case::Subscribed, Case::SubscribedDistinct, Case::Blocked];

/// What a client sends, and the reply that must come; `None`: none may come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Exchange {
    /// The request.
    pub(crate) request: Vec<u8>,
    /// The reply, to the byte.
    pub(crate) reply: Option<Vec<u8>>,
}

impl Case {
    /// For the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Subscribed => "subscribed",
            Self::SubscribedDistinct => "subscribed, own channel",
            Self::Blocked => "blocked",
        }
    }

    /// Sockets that a proxy is expected to have for each client.
    pub(crate) fn sockets(self) -> u64 {
        if self == Self::Blocked { 2 } else { 1 }
    }

    /// What client `number` sends and gets.
    pub(crate) fn exchange(self, number: usize) -> Exchange {
        match self {
            Self::Idle => Exchange {
                request: frame(&["SET", &format!("footprint:{}", number % IDLE_KEYS), "1"]),
                reply: Some(b"+OK\r\n".to_vec()),
            },
            Self::Subscribed => subscribe("footprint:all"),
            Self::SubscribedDistinct => subscribe(&format!("footprint:{number}")),
            Self::Blocked => blpop(&format!("footprint:list:{number}")),
        }
    }
}

/// Waits for an element of the list `key`, which nobody pushes.
pub(crate) fn blpop(key: &str) -> Exchange {
    Exchange { request: frame(&["BLPOP", key, "0"]), reply: None }
}

fn subscribe(channel: &str) -> Exchange {
    let reply = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len());
    Exchange { request: frame(&["SUBSCRIBE", channel]), reply: Some(reply.into_bytes()) }
}

fn frame(argv: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", argv.len());
    for arg in argv {
        text.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_frames_and_replies_what_servers_say() {
        let one = Case::SubscribedDistinct.exchange(7);
        assert_eq!(one.request, b"*2\r\n$9\r\nSUBSCRIBE\r\n$11\r\nfootprint:7\r\n");
        assert_eq!(one.reply.unwrap(), b"*3\r\n$9\r\nsubscribe\r\n$11\r\nfootprint:7\r\n:1\r\n");
        assert_eq!(
            blpop("k"),
            Exchange { request: b"*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n".to_vec(), reply: None }
        );
        assert_ne!(Case::Blocked.exchange(1), Case::Blocked.exchange(2));
    }
}
