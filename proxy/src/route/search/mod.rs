//! Search over shards: each shard's server indexes its own keys, and one index is made of them here. What a client
//! asks is read (`query`, `aggregate`), every shard is asked for its share (`outgoing`), and the shares are merged
//! (`ranked`, `rows`, `groups`) into what one server with all the data would say. What can't be is refused.

mod aggregate;
mod arguments;
mod contents;
mod expression;
pub mod gathering;
pub mod groups;
mod index_name;
mod info;
pub mod outgoing;
mod query;
pub mod ranked;
pub mod refused;
mod reply;
pub mod rows;
pub mod scatter;
mod schema;
