//! The `slotway` binary.
use slotway::config::written::Written;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut written = Written::default();
    written.read_text("tmp", &args[1]);
    let settings = written.check().unwrap_or_else(|e| panic!("{e}"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    slotway::server::run(settings).unwrap();
}
