//! ◆ One node, asked over a connection of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "I/O: owns the connection to a node and limits how long answers may take"
)]

use std::time::Duration;

use tokio::time::timeout;

use crate::backend::connect::{ConnectError, Connector};
use crate::backend::lane::{Lane, LoginId};
use crate::cluster::link::{Link, LinkError};
use crate::cluster::slot_map::Endpoint;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::stream::Stream;

/// A connection that has shaken hands.
pub(super) struct Node {
    link: Link<Stream>,
    limit: Duration,
}

/// Why a node says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Questions that are sent before their answers are read: few enough to fit into the sockets' buffers.
const BATCH: usize = 64;

impl Node {
    /// Connects as `login`; answers have to come within `limit`.
    pub(super) async fn connect(
        connector: &Connector,
        endpoint: &Endpoint,
        login: LoginId,
        limit: Duration,
    ) -> Result<Self, NodeError> {
        let stream = connector.open(endpoint, Lane::default().of(login)).await?;
        Ok(Self { link: Link::new(stream), limit })
    }

    /// The answer to one question.
    pub(super) async fn ask(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, NodeError> {
        Ok(self.ask_all(&[words.to_vec()]).await?.pop().unwrap_or_default())
    }

    /// The answers to all questions, in their order.
    pub(super) async fn ask_all(&mut self, questions: &[Vec<&[u8]>]) -> Result<Vec<Vec<u8>>, NodeError> {
        let mut answers = Vec::with_capacity(questions.len());
        for batch in questions.chunks(BATCH) {
            let mut requests = Vec::new();
            for words in batch {
                let mut writer = ReplyWriter::new(&mut requests, Protocol::Resp2);
                writer.array(words.len());
                words.iter().for_each(|word| writer.bulk(word));
            }
            let asked = async {
                self.link.send(&requests).await?;
                for _ in batch {
                    answers.push(self.link.reply().await?);
                }
                Ok::<_, LinkError>(())
            };
            timeout(self.limit, asked).await.map_err(|_| NodeError::Timeout(self.limit))??;
        }
        Ok(answers)
    }
}
