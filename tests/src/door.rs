//! A balancer as simple as can be: an address that leads to a proxy, as long as it is open.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Leads to wherever [`Door::lead_to`] says; closed on drop.
#[derive(Debug)]
pub struct Door {
    addr: String,
    target: Arc<Mutex<String>>,
    closed: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Door {
    /// One at this address, which leads to `target`.
    ///
    /// # Panics
    /// Where the address can't be bound.
    #[track_caller]
    #[must_use]
    pub fn open(addr: &str, target: &str) -> Self {
        let mut door = Self {
            addr: addr.to_owned(),
            target: Arc::new(Mutex::new(target.to_owned())),
            closed: Arc::default(),
            accepting: None,
        };
        door.reopen();
        door
    }

    /// From here on it leads there.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.target.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Accepts nobody any more.
    pub fn close(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // The thread sees it when it has somebody to accept.
        let _ = TcpStream::connect(&self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }

    /// Accepts again.
    ///
    /// # Panics
    /// Where the address can't be bound.
    #[track_caller]
    pub fn reopen(&mut self) {
        let listener = TcpListener::bind(&self.addr);
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen at {}: {error}", self.addr));
        self.closed.store(false, Ordering::Relaxed);
        let (closed, target) = (self.closed.clone(), self.target.clone());
        self.accepting = Some(thread::spawn(move || {
            for client in listener.incoming() {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let target = target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (Ok(client), Ok(proxy)) = (client, TcpStream::connect(target)) else { continue };
                let _ = join(client, proxy);
            }
        }));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Both ways, until one side has had enough.
fn join(client: TcpStream, proxy: TcpStream) -> io::Result<()> {
    for stream in [&client, &proxy] {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    }
    for (mut from, mut to) in [(client.try_clone()?, proxy.try_clone()?), (proxy, client)] {
        thread::spawn(move || {
            let mut bytes = [0; 16 << 10];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                if to.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
