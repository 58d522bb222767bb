//! PUBSUB: who listens, asked of all workers. It speaks of the proxy's own clients: what a node would say speaks
//! of the proxy, which subscribes once for many.

use std::collections::BTreeMap;

use super::super::session::Session;
use super::{Answer, Ask};
use crate::command::glob;
use crate::command::spec::{Spec, TopicKind};
use crate::pubsub::registry::Registry;
use crate::pubsub::subscribers::Subscriber;
use crate::refusal::{Refusal, printable};
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// What is asked about topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topics {
    /// Those that match this pattern, where there is one.
    Matching(TopicKind, Option<Box<[u8]>>),
    /// How many patterns there are.
    Patterns,
    /// How many subscribers each of these has.
    Counts(TopicKind, Box<[Box<[u8]>]>),
}

/// Topics and how many listen to each, of one worker or of all.
pub type Counted = BTreeMap<Box<[u8]>, usize>;

/// Answers PUBSUB.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn answer(spec: &Spec, request: &Request<'_>, session: &Session) -> Result<Answer, Refusal> {
    let names = || request.args_from(2).map(Box::from).collect();
    let pattern = || request.arg(2).map(Box::from);
    let topics = match &*spec.name {
        "pubsub|channels" | "pubsub|shardchannels" if request.len() > 3 => {
            let name = printable(request.arg(1).unwrap_or_default(), 128);
            let text = "ERR unknown subcommand or wrong number of arguments for";
            return Err(Refusal::Said(format!("{text} '{name}'. Try PUBSUB HELP.")));
        }
        "pubsub|channels" => Topics::Matching(TopicKind::Channel, pattern()),
        "pubsub|shardchannels" => Topics::Matching(TopicKind::Shard, pattern()),
        "pubsub|numsub" => Topics::Counts(TopicKind::Channel, names()),
        "pubsub|shardnumsub" => Topics::Counts(TopicKind::Shard, names()),
        _ => Topics::Patterns,
    };
    Ok(Answer::Question(Ask::Topics(topics, session.login().tenant_name().cloned())))
}

impl Topics {
    /// What one worker knows of the subscribers that `counts` says yes of.
    pub fn count(&self, registry: &Registry, counts: impl Fn(&Subscriber) -> bool) -> Counted {
        let own = |(name, count): (&[u8], usize)| (Box::from(name), count);
        match self {
            Self::Matching(kind, pattern) => {
                let matches = |name: &[u8]| pattern.as_ref().is_none_or(|p| glob::matches(p, name));
                registry.all(*kind, &counts).filter(|(name, _)| matches(name)).map(own).collect()
            }
            Self::Patterns => registry.all(TopicKind::Pattern, &counts).map(own).collect(),
            Self::Counts(kind, names) => {
                names.iter().map(|name| (name.clone(), registry.count(*kind, name, &counts))).collect()
            }
        }
    }

    /// Writes the reply: `counted` is what all workers know, added up.
    pub fn write(&self, counted: &Counted, writer: &mut ReplyWriter<'_>) {
        match self {
            Self::Matching(..) => {
                writer.array(counted.len());
                counted.keys().for_each(|name| writer.bulk(name));
            }
            Self::Patterns => writer.integer(counted.len() as i64),
            Self::Counts(_, names) => {
                writer.array(2 * names.len());
                for name in names {
                    writer.bulk(name);
                    writer.integer(counted.get(name).copied().unwrap_or_default() as i64);
                }
            }
        }
    }
}
