//! ◆ One client's task: reads requests, waits for the socket where a reply did not fit, and closes.
//!
//! Replies are written from where they come in, see [`super::connection::Client::flush`]; the task runs only
//! for what needs it. It holds no buffer and no state of its own, so that an idle client costs its record
//! and its registration with the runtime.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::task::yield_now;

use super::connection::{Client, Rest};
use super::dispatch::{self, Flow, Turn};
use super::fairness;
use super::limited;
use super::private::drive;
use super::state::State;
use crate::backend::owner::Owner;
use crate::moment::Moment;
use crate::refusal::Refusal;
use crate::resp::inline;
use crate::resp::scan::{ProtocolError, RequestLimits, RequestScanner, Scan};
use crate::worker::Worker;

/// Serves a client until it leaves or is closed.
pub struct ClientTask {
    worker: Rc<RefCell<Worker>>,
    key: u32,
    generation: u32,
}

// A task of the runtime takes 128 bytes, a multiple of which it stays; its own fields leave room for so much.
const _: () = assert!(size_of::<ClientTask>() <= 16);

// What one client may send before others have their turn, in reads of the scratch buffer.
const READS_PER_TURN: usize = 2;

// Bytes of a read while several tenants ask; a full one is the only one of its turn.
const CONTENDED_READ: usize = 32 * 1024;

// A request that needs more than this is collected in a buffer of its own; below it the scratch is used.
const LARGE_REQUEST: usize = 32 * 1024;

// A large request's buffer grows by at most this, or to twice what has come, before the bytes are there: a
// length alone costs nothing.
const LARGEST_STEP: usize = 1024 * 1024;

impl ClientTask {
    /// For the client that was inserted under this key and generation.
    #[must_use]
    pub fn new(worker: Rc<RefCell<Worker>>, key: u32, generation: u32) -> Self {
        Self { worker, key, generation }
    }
}

impl Future for ClientTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut worker = self.worker.borrow_mut();
        let Some((client, mut turn, scratch)) = worker.client_turn(self.key, self.generation) else {
            return Poll::Ready(());
        };
        let was_stuck = client.stuck;
        fairness::begin(client, &mut turn);
        let polled = poll_client(client, &mut turn, scratch, cx);
        fairness::end(client, &turn);
        if polled.is_ready() {
            client.end_private(&mut turn);
            client.stream.close();
        }
        if client.stuck && !was_stuck {
            worker.clients.note_stuck(self.key);
        }
        if polled.is_ready() {
            worker.end_client(self.key);
        }
        worker.settle();
        polled
    }
}

/// One turn: write what was stuck, handle what waited, read. Ready once the connection is to be closed.
fn poll_client(
    client: &mut Client,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<()> {
    match &mut client.waker {
        Some(own) if own.will_wake(cx.waker()) => {}
        own => *own = Some(cx.waker().clone()),
    }
    if let Poll::Ready(Err(_)) = poll_stuck(client, turn, cx) {
        return Poll::Ready(());
    }
    if client.private.is_some() {
        drive::poll(client, turn, scratch, cx);
    }
    if client.reads_requests()
        && let Poll::Ready(Err(_)) = poll_requests(client, turn, scratch, cx)
    {
        client.state = State::Broken;
    }
    if client.private.is_some() {
        drive::poll(client, turn, scratch, cx);
    }
    if client.state == State::Retiring && poll_retired(client, scratch, cx).is_ready() {
        client.state = State::Broken;
    }
    if matches!(client.state, State::Closing | State::Revoked)
        && let Poll::Ready(Err(_)) = poll_discard(client, scratch, cx)
    {
        client.state = State::Broken;
    }
    client.flush(&[], &turn.shared.marks, turn.spares, turn.metrics);
    if client.is_over() { Poll::Ready(()) } else { Poll::Pending }
}

/// Writes what the socket did not take at first. Ready only with an error.
fn poll_stuck(client: &mut Client, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if !client.stuck {
        return Poll::Pending;
    }
    while !client.output.is_empty() {
        turn.metrics.client_writes.add(1);
        let count = ready!(Pin::new(&mut client.stream).poll_write(cx, client.output.unsent(&[])))?;
        turn.metrics.client_bytes_out.add(count as u64);
        client.session.door.count_sent(count);
        client.session.count_carried(count);
        if client.is_limited {
            client.tell_tenant(count);
        }
        client.session.last_active = Moment::of(turn.now);
        client.patience.note_bytes();
        client.output.advance(count, turn.spares);
    }
    client.stuck = false;
    Poll::Pending
}

/// Handles requests until none is left, the client has no room, or its turn is over. Ready only with an error.
fn poll_requests(
    client: &mut Client,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if client.rest.as_ref().is_some_and(|rest| rest.need == 0) {
        handle_waiting(client, turn);
    }
    for _ in 0..READS_PER_TURN {
        client.stopped = !may_go_on(client, turn);
        if client.stopped || !client.reads_requests() {
            look_for_end(client, cx);
            return Poll::Pending;
        }
        if turn.contended && !fairness::admit(client, turn) {
            return Poll::Pending;
        }
        let rest = client.rest.take();
        let (count, polled) = match rest {
            Some(rest) if rest.need > LARGE_REQUEST || rest.bytes.len() > LARGE_REQUEST => {
                poll_large(client, rest, turn, scratch, cx)
            }
            rest => poll_small(client, rest, turn, scratch, cx),
        };
        if polled.is_pending() && client.state == State::Draining && !client.is_paused() {
            // What had arrived was handled; from here on nothing is executed.
            client.close_after_replies();
        }
        ready!(polled)?;
        client.session.last_active = Moment::of(turn.now);
        turn.metrics.client_reads.add(1);
        turn.metrics.client_bytes_in.add(count as u64);
        client.session.door.count_received(count);
        client.session.count_carried(count);
        if count == 0 {
            // The client may have shut down its sending side only: what it asked is still answered.
            client.close_after_replies();
            return Poll::Pending;
        }
        if turn.contended && count >= CONTENDED_READ {
            give_way(cx);
            return Poll::Pending;
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Others first, also those of whom only a look at the sockets tells: the task goes on behind it.
#[cold]
#[inline(never)]
fn give_way(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(yield_now()).poll(cx);
}

/// A client that is paused and closes its side, or only one of it, is closed: what it asked is not answered in time
/// for it, and to do it nevertheless would cost those who wait behind it. Nothing is read to see that.
fn look_for_end(client: &mut Client, cx: &mut Context<'_>) {
    if client.is_paused() && drive::is_gone(client, cx) {
        client.state = State::Broken;
    }
}

/// Reads into the scratch buffer, behind what was kept, and handles what is whole.
fn poll_small(
    client: &mut Client,
    rest: Option<Box<Rest>>,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> (usize, Poll<io::Result<()>>) {
    let kept = rest.as_ref().map_or(0, |rest| rest.bytes.len());
    if let Some(rest) = &rest {
        scratch[..kept].copy_from_slice(&rest.bytes);
    }
    let end = if turn.contended { scratch.len().min(kept + CONTENDED_READ) } else { scratch.len() };
    let need = rest.as_ref().map_or(0, |rest| rest.need);
    let polled = poll_read(client, &mut scratch[kept..end], need, turn, cx);
    let count = if let Poll::Ready(Ok(count)) = polled { count } else { 0 };
    let polled = polled.map_ok(drop);
    if count == 0 {
        client.rest = rest;
        return (0, polled);
    }
    let scanner = rest.map_or_else(|| turn.spares.take_scanner(), |rest| rest.scanner);
    let buf = &scratch[..kept + count];
    let left = handle(client, buf, scanner, turn);
    client.rest = left.map(|left| {
        let bytes = buf[left.start..].to_vec();
        left.of(bytes)
    });
    (count, polled)
}

/// Reads from the client, as far as its tenant's limits let it; `need` is how long the request at least is whose
/// beginning was read, 0 where none was.
fn poll_read(
    client: &mut Client,
    buf: &mut [u8],
    need: usize,
    turn: &Turn<'_>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // One branch for both: most clients are neither.
    if !(client.unread | client.is_limited) {
        return client.stream.poll_fresh(buf, cx);
    }
    // Who has nothing to read waits for nobody.
    if !client.unread {
        ready!(client.stream.poll_read_ready(cx))?;
    }
    let Some(most) = limited::may_read(client, need, turn) else {
        look_for_end(client, cx);
        return Poll::Pending;
    };
    let most = most.min(buf.len());
    let count = ready!(poll_unread(client, &mut buf[..most], cx))?;
    limited::note_read(client, count, turn);
    Poll::Ready(Ok(count))
}

/// Reads from the client; also what the runtime does not know of, see [`Client::unread`].
fn poll_unread(client: &mut Client, buf: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    client.stream.poll_receive(&mut client.unread, buf, cx)
}

/// Reads into the large request's own buffer.
fn poll_large(
    client: &mut Client,
    mut rest: Box<Rest>,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> (usize, Poll<io::Result<()>>) {
    let step = rest.need.saturating_sub(rest.bytes.len()).clamp(LARGE_REQUEST, LARGEST_STEP);
    if rest.bytes.capacity() == rest.bytes.len() {
        rest.bytes.reserve(step);
    }
    let step = if turn.contended { step.min(CONTENDED_READ) } else { step };
    let before = rest.bytes.len();
    let polled = if client.unread | client.is_limited | client.stream.is_tls() {
        let room = step.min(scratch.len());
        poll_read(client, &mut scratch[..room], rest.need, turn, cx)
            .map_ok(|count| rest.bytes.extend_from_slice(&scratch[..count]))
    } else {
        // Little of what follows the request: it would be moved each time that some of it is handled.
        let mut stream = (&mut client.stream).take(step as u64);
        let read = std::pin::pin!(stream.read_buf(&mut rest.bytes));
        read.poll(cx).map_ok(|_| ())
    };
    let count = rest.bytes.len() - before;
    if count == 0 || rest.bytes.len() < rest.need {
        client.rest = Some(rest);
        return (count, polled);
    }
    handle_rest(client, *rest, turn);
    (count, polled)
}

/// Handles requests that had to wait for room.
fn handle_waiting(client: &mut Client, turn: &mut Turn<'_>) {
    if !may_go_on(client, turn) {
        return;
    }
    if let Some(rest) = client.rest.take() {
        handle_rest(client, *rest, turn);
    }
}

/// Handles what was kept, and keeps what is left in the same buffer: a large request is not copied each time
/// that a piece of it comes.
fn handle_rest(client: &mut Client, rest: Rest, turn: &mut Turn<'_>) {
    let Rest { mut bytes, scanner, .. } = rest;
    client.rest = handle(client, &bytes, scanner, turn).map(|left| {
        bytes.drain(..left.start);
        left.of(bytes)
    });
}

/// What could not be handled yet of a buffer.
struct Left {
    /// Where it begins.
    start: usize,
    scanner: RequestScanner,
    need: usize,
}

impl Left {
    fn of(self, bytes: Vec<u8>) -> Box<Rest> {
        Box::new(Rest { bytes, scanner: self.scanner, need: self.need })
    }
}

/// Handles every whole request in `buf` that there is room for; tells what is left.
fn handle(client: &mut Client, buf: &[u8], mut scanner: RequestScanner, turn: &mut Turn<'_>) -> Option<Left> {
    let shared = turn.shared;
    let mut start = 0;
    let need = loop {
        if !may_go_on(client, turn) {
            client.stopped = true;
            break 0;
        }
        if turn.contended && !fairness::admit(client, turn) {
            break 0;
        }
        let bytes = &buf[start..];
        let own;
        let limits = match client.session.is_guarded() {
            false => shared.request_limits(),
            true => {
                own = shared.guarded_limits(&client.session);
                &own
            }
        };
        let len = match scanner.scan(bytes, limits) {
            Ok(Scan::Request(len)) => match dispatch::dispatch(client, &scanner.request(bytes), turn) {
                Flow::Done => len,
                Flow::Later => break hold(client, &mut scanner),
                Flow::Paused => break keep(&mut scanner),
            },
            Ok(Scan::Inline(len)) => match handle_inline(client, &bytes[..len], limits, turn) {
                Ok(Flow::Done) => len,
                Ok(Flow::Later) => break hold(client, &mut scanner),
                Ok(Flow::Paused) => break keep(&mut scanner),
                Err(error) => {
                    refuse_bytes(client, error, turn);
                    return None;
                }
            },
            Ok(Scan::Nothing(len)) => len,
            Ok(Scan::Incomplete(need)) => break need,
            Err(error) => {
                refuse_bytes(client, error, turn);
                return None;
            }
        };
        start += len;
        scanner.reset();
        if !client.reads_requests() {
            if client.is_leaving() {
                // Whoever takes it handles what is left.
                break 0;
            }
            return None;
        }
    };
    if start < buf.len() {
        return Some(Left { start, scanner, need });
    }
    turn.spares.give_scanner(scanner);
    None
}

/// The request that was just scanned has to be the only one under way: it is handled when no other is.
fn hold(client: &mut Client, scanner: &mut RequestScanner) -> usize {
    client.congested = true;
    client.stopped = true;
    keep(scanner)
}

/// The request that was just scanned is handled later.
fn keep(scanner: &mut RequestScanner) -> usize {
    scanner.reset();
    0
}

fn handle_inline(
    client: &mut Client,
    line: &[u8],
    limits: &RequestLimits,
    turn: &mut Turn<'_>,
) -> Result<Flow, ProtocolError> {
    let frame = inline::canonical(line)?;
    let mut scanner = RequestScanner::default();
    if let Scan::Request(_) = scanner.scan(&frame, limits)? {
        return Ok(dispatch::dispatch(client, &scanner.request(&frame), turn));
    }
    Ok(Flow::Done)
}

/// Says what is wrong with the bytes; nothing behind them can be understood.
fn refuse_bytes(client: &mut Client, error: ProtocolError, turn: &mut Turn<'_>) {
    turn.metrics.protocol_errors.add(1);
    if error == ProtocolError::TooBigValue {
        client.note_large_value();
    }
    // Somebody lets a browser talk to us: the servers, too, close without a word.
    if error != ProtocolError::CrossProtocol {
        dispatch::refuse(client, &Refusal::Protocol(error), turn);
    }
    client.close_after_replies();
}

/// Whether the client's next request may be handled: it has room, and its requests in flight were routed by
/// the slot map that the next one would be routed by, so that none can overtake another.
fn may_go_on(client: &mut Client, turn: &Turn<'_>) -> bool {
    if client.replies.is_empty() {
        client.congested = false;
    } else if client.routed_by != turn.pool.generation() {
        client.congested = true;
    }
    client.has_room(&turn.shared.marks)
}

/// Tells the other side the end, and drops what it says until it has heard. Ready when that is over.
#[cold]
fn poll_retired(client: &mut Client, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<()> {
    if Pin::new(&mut client.stream).poll_shutdown(cx).is_pending() {
        return Poll::Pending;
    }
    for _ in 0..READS_PER_TURN {
        match ready!(poll_unread(client, scratch, cx)) {
            Ok(count) if count > 0 => {}
            _ => return Poll::Ready(()),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Reads and drops what a client sends that is being closed, so that the kernel doesn't answer with a reset
/// that would destroy replies under way. Ready only with an error, or at the end of the stream.
fn poll_discard(client: &mut Client, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    for _ in 0..READS_PER_TURN {
        if ready!(poll_unread(client, scratch, cx))? == 0 {
            return Poll::Pending;
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
