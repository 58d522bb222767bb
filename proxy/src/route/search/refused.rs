//! Why a search is refused: no merge of what the shards say is what one server would say.

use thiserror::Error;

/// A search that is not sent.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// An option that is not known here: it could change what shards answer.
    #[error("the option '{0}' is not known")]
    UnknownOption(String),
    /// An option without its values.
    #[error("{0} lacks a value or has a wrong one")]
    BadOption(&'static str),
    /// More rows than a server gives.
    #[error("LIMIT exceeds maximum of {0}")]
    TooFar(u64),
    /// Scores out of each shard's own statistics decide the order.
    #[error(
        "the order by score depends on statistics over all documents, which each shard has of its own only: give SORTBY, \
         or SCORER DOCSCORE, DISMAX or HAMMING"
    )]
    Scores,
    /// Scores out of each shard's own statistics are to be shown.
    #[error(
        "the scores depend on statistics over all documents, which each shard has of its own only: leave out WITHSCORES, \
         or give SCORER DOCSCORE, DISMAX or HAMMING"
    )]
    ShownScores,
    /// A KNN clause that can't be read.
    #[error(
        "the KNN clause can't be read: give it as `=>[KNN k @field $vector AS name]` at the end of the query"
    )]
    Knn,
    /// KNN in FT.AGGREGATE.
    #[error("KNN in FT.AGGREGATE would take the nearest of each shard: use FT.SEARCH")]
    AggregateKnn,
    /// A cursor lives in one server.
    #[error("a cursor lives in one server: read with LIMIT")]
    Cursor,
    /// A step of a pipeline that no shard can do alone.
    #[error("{step} behind {behind} would need the rows of all shards together")]
    Step {
        /// The step.
        step: &'static str,
        /// What stands before it.
        behind: &'static str,
    },
    /// A reducer whose shares can't be put together.
    #[error("what the reducer '{0}' gives for each shard can't be put together")]
    Reducer(String),
    /// Sorted by what is no property of a group.
    #[error("SORTBY behind GROUPBY takes what GROUPBY and REDUCE name only")]
    UnknownProperty,
    /// What servers can't know without reading documents, in a cluster.
    #[error(
        "'{0}' is not SORTABLE (UNF, to be loaded): the nodes of a cluster read documents of one slot only"
    )]
    NotSortable(String),
    /// What servers make of whole documents, in a cluster.
    #[error("{0} needs the documents, and the nodes of a cluster read those of one slot only")]
    Documents(&'static str),
    /// An index's name whose slot can't be chosen.
    #[error("an index's name with a hash tag belongs to one shard of a cluster")]
    TaggedName,
}
