//! How connections that were opened reach the clients that wait for them, and how such clients are woken.

use super::super::clients::{Clients, Parts};
use super::super::connection::Client;
use super::job::Stage;
use crate::private::connection::PrivateConnection;
use crate::private::pool::{Asker, NodeId};

impl Clients {
    /// Gives a client the connection that was opened for it; gives it back where the client does not want it
    /// any more.
    pub fn hand_over(
        &mut self,
        asker: Asker,
        connection: Box<PrivateConnection>,
        buckets: usize,
    ) -> Option<Box<PrivateConnection>> {
        let Some(client) = self.waits_for(asker, connection.node) else { return Some(connection) };
        if !client.speaks(connection.lane) {
            // It is somebody else at the backends than when this was asked for.
            self.go_on(asker);
            return Some(connection);
        }
        client.private_mut().table.insert(connection, buckets);
        self.metrics.private_connections.add(1);
        self.go_on(asker);
        None
    }

    /// The connection that a client waits for could not be opened.
    pub fn on_open_failed(&mut self, asker: Asker, node: NodeId) {
        if self.waits_for(asker, node).is_some() {
            self.go_on(asker);
        }
    }

    /// The node does not let the user in as whom the client is to be there.
    pub fn on_open_refused(&mut self, asker: Asker, node: NodeId) {
        let Some(client) = self.waits_for(asker, node) else { return };
        if let Some(job) = client.job_mut() {
            job.extra_mut().refused = true;
        }
        self.go_on(asker);
    }

    fn waits_for(&mut self, asker: Asker, node: NodeId) -> Option<&mut Client> {
        let client = self.parts(asker.client, asker.generation)?.client;
        let waits = client.job_mut().is_some_and(|job| job.stage == Stage::Opening(node));
        waits.then_some(client)
    }

    fn go_on(&mut self, asker: Asker) {
        let Some(Parts { client, .. }) = self.parts(asker.client, asker.generation) else { return };
        if let Some(job) = client.job_mut() {
            job.stage = Stage::Ready;
        }
        client.wake();
    }

    /// Has the tasks of tracking clients look at the new slot map.
    pub fn wake_tracking(&self) {
        self.iter().filter(|client| client.tracking().is_some()).for_each(Client::wake);
    }

    /// Has a client that was paused go on.
    pub fn let_go(&mut self, asker: Asker) {
        if let Some(Parts { client, .. }) = self.parts(asker.client, asker.generation) {
            client.let_go();
        }
    }

    /// Has a client's task look at its job.
    pub fn wake(&mut self, asker: Asker) {
        if let Some(Parts { client, .. }) = self.parts(asker.client, asker.generation) {
            client.wake();
        }
    }
}
