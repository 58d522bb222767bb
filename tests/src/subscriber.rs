//! What tests of Pub/Sub share: a server behind a proxy, and what clients say and hear.

use crate::proxy::{Options, Proxy};
use crate::raw::Raw;
use crate::server::Server;
use crate::value::Value;

/// A server and a proxy over it, with these settings.
#[must_use]
pub fn start(settings: &[&str]) -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).set(settings).start();
    (server, proxy)
}

/// The channel and text of the next frame, which has to be a message.
#[track_caller]
pub fn message(client: &mut Raw) -> (String, String) {
    let frame = client.read();
    let items = frame.items();
    assert!(first_word(&frame).ends_with("message"), "{frame:?}");
    (items[items.len() - 2].text(), items[items.len() - 1].text())
}

/// What a frame is: the first word of an array or a push.
#[must_use]
pub fn first_word(value: &Value) -> String {
    match value {
        Value::Array(items) | Value::Push(items) => items[0].text(),
        other => other.text(),
    }
}

/// Publishes; how many the one who is asked knows to have heard it.
pub fn publish(client: &mut Raw, channel: &str, text: &str) -> i64 {
    client.call(&["PUBLISH", channel, text]).int()
}

/// An array's elements.
#[must_use]
pub fn texts(value: &Value) -> Vec<String> {
    value.items().iter().map(Value::text).collect()
}
