//! Clients: what they are, how their requests are handled and their replies put in order.

pub mod task;

pub mod address;
pub mod connection;
pub mod session;
mod state;

mod cross;
pub mod dispatch;
mod exec;
mod fairness;
mod gate;
mod guard;
pub mod limited;
mod logins;
mod namespaced;
mod own_log;
mod own_scripts;
pub mod plans;
mod quota;
pub mod quotas;
mod reads;
pub mod scripted;
mod search;
pub mod send;
pub mod transaction;

pub mod private;

pub mod local;
mod locally;
pub mod monitor;
pub mod moving;
mod subscribe;

mod answers;
pub mod clients;
mod delivery;
pub mod output;
pub mod reorder;
mod repair;
pub mod replies;
pub mod retry;
pub mod spares;
mod subscriber;
mod succession;
