//! Asks a name server one question by UDP as fast as it answers, and prints how many answers that were. One thread, so
//! many queries at once and no more: what the server loses is seen, and is not a queue's overflow. ◆

#![expect(clippy::disallowed_methods, reason = "I/O: drives sockets and measures time")]

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use slotway_bench::failure::Failure;
use slotway_bench::load::histogram::Histogram;
use slotway_bench::terminal::{print, say};

/// One question to a name server, over and over.
#[derive(Parser, Debug)]
#[command(name = "dns-load", version)]
struct Options {
    /// Who is asked.
    #[arg(value_name = "HOST:PORT")]
    server: SocketAddr,
    /// The name that is asked for.
    #[arg(value_parser = wire_name)]
    name: Wire,
    /// The type, by its number: 1 is A, 28 AAAA.
    #[arg(long = "type", default_value_t = 1)]
    kind: u16,
    /// For how long.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Queries at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    window: u16,
    /// Without EDNS.
    #[arg(long)]
    plain: bool,
}

/// A name as DNS writes it.
#[derive(Clone, Debug)]
struct Wire(Vec<u8>);

/// When nothing comes for this long, what is on its way is lost.
const PATIENCE: Duration = Duration::from_millis(200);
const HEADER: usize = 12;

#[derive(Default)]
struct Counts {
    answers: u64,
    /// Those with another code than 0.
    errors: u64,
    truncated: u64,
    lost: u64,
    bytes: u64,
}

fn main() -> ExitCode {
    match ask(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("dns-load: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(options: &Options) -> Result<(), Failure> {
    let own: SocketAddr = if options.server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(own).map_err(Failure::io("binding"))?;
    socket.connect(options.server).map_err(Failure::io("connecting"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(Failure::io("setting a timeout"))?;
    let mut query = query(options);
    let (mut counts, mut latencies) = (Counts::default(), Histogram::default());
    // When the query of this id left; an id is that of a place in the window.
    let mut left: Vec<Option<Instant>> = vec![None; options.window.into()];
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(options.seconds);
    let mut packet = [0; 4_096];
    let mut idle: Vec<u16> = (0..options.window).collect();
    while Instant::now() < end {
        while let Some(id) = idle.pop() {
            query[..2].copy_from_slice(&id.to_be_bytes());
            left[usize::from(id)] = Some(Instant::now());
            // Nobody there: told by the time that runs out.
            let _ = socket.send(&query);
        }
        match socket.recv(&mut packet) {
            Ok(count) if count >= HEADER => {
                let id = u16::from_be_bytes([packet[0], packet[1]]);
                let Some(at) = left.get_mut(usize::from(id)).and_then(Option::take) else { continue };
                latencies.add(at.elapsed(), 1);
                counts.note(&packet[..count]);
                idle.push(id);
            }
            Ok(_) => {}
            Err(_) => {
                let gone = (0..options.window).filter(|id| left[usize::from(*id)].take().is_some());
                idle.extend(gone);
                counts.lost += idle.len() as u64;
            }
        }
    }
    report(options, &counts, &latencies, began.elapsed(), query.len())
}

impl Counts {
    fn note(&mut self, answer: &[u8]) {
        self.answers += 1;
        self.bytes += answer.len() as u64;
        self.errors += u64::from(answer[3] & 0xf != 0);
        self.truncated += u64::from(answer[2] & 2 != 0);
    }
}

fn report(
    options: &Options,
    counts: &Counts,
    latencies: &Histogram,
    took: Duration,
    query: usize,
) -> Result<(), Failure> {
    if counts.answers == 0 {
        return Err(Failure::Stalled { seconds: options.seconds.ceil() as u64, open: options.window.into() });
    }
    let micros = |share: f64| latencies.quantile(share).as_micros() as u64;
    let report = json!({
        "answers_per_second": (counts.answers as f64 / took.as_secs_f64()).round(),
        "answers": counts.answers,
        "errors": counts.errors,
        "truncated": counts.truncated,
        "lost": counts.lost,
        "query_bytes": query,
        "answer_bytes": counts.bytes / counts.answers,
        "p50_us": micros(0.5),
        "p99_us": micros(0.99),
    });
    print(&format!("{report}\n"))
}

fn query(options: &Options) -> Vec<u8> {
    let mut query = vec![0; HEADER];
    query[5] = 1;
    query[11] = u8::from(!options.plain);
    query.extend_from_slice(&options.name.0);
    query.extend_from_slice(&options.kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    if !options.plain {
        // OPT of the root, 1,232 bytes, version 0, without options.
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    query
}

fn wire_name(text: &str) -> Result<Wire, String> {
    let mut wire = Vec::new();
    for label in text.trim_end_matches('.').split('.').filter(|_| text != ".") {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..64).contains(len));
        wire.push(len.ok_or("labels have 1 to 63 bytes")?);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    if wire.len() > 255 { Err("a name has at most 255 bytes".to_owned()) } else { Ok(Wire(wire)) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err("must be 0.1 to 600".to_owned()) }
}
