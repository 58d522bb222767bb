//! Certificates and keys in files: replaced under load, wrong, or not there.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slotway_tests::certs::Authority;
use slotway_tests::poll::eventually;
use slotway_tests::tls_entry::{SEEN, over_one_server};

#[test]
fn certificates_are_replaced_under_load_without_a_failed_handshake() {
    let (_server, entry) = over_one_server();
    let mut old = entry.client();
    let stop = Arc::new(AtomicBool::new(false));
    let shown = Arc::new(AtomicU64::new(0));
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let (options, addr) = (entry.options(), entry.addr());
            let (stop, shown) = (Arc::clone(&stop), Arc::clone(&shown));
            thread::spawn(move || {
                let mut seen = std::collections::HashSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut client = options.connect(&addr);
                    assert_eq!(client.cmd("PING").text(), "PONG");
                    seen.insert(client.certificate());
                    shown.fetch_max(seen.len() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut replaced = 0;
    while shown.load(Ordering::Relaxed) < 3 || replaced < 30 {
        let next = entry.authority.server(&format!("next{replaced}"), &["localhost", "127.0.0.1"]);
        next.replace(&entry.certificate);
        replaced += 1;
        thread::sleep(Duration::from_millis(150));
        assert!(began.elapsed() < 3 * SEEN, "new certificates are not shown");
    }
    stop.store(true, Ordering::Relaxed);
    loops.into_iter().for_each(|one| one.join().expect("no handshake fails"));
    let now = fs::read_to_string(&entry.certificate.certificate).expect("it is there");
    eventually("the last one is shown", SEEN, || {
        let shown = entry.client().certificate();
        (pem(&now) == shown).then_some(())
    });
    assert_eq!(old.cmd("PING").text(), "PONG", "who was there stays");
    let failed = ["incompatible", "certificate", "refused", "protocol", "lost", "timeout", "not_tls"];
    let failed = failed.map(|kind| entry.proxy.metric(&format!("tls_failed_{kind}")));
    assert_eq!(failed, [0; 7]);
}

fn pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM").to_vec()
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let (_server, entry) = over_one_server();
    let shown = entry.client().certificate();
    fs::write(&entry.certificate.certificate, "nonsense").expect("writable");
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_reload_failures") == 1).then_some(()));
    assert!(entry.proxy.process().log_tail().contains("holds no certificate"));
    assert_eq!(entry.client().certificate(), shown);
    // A key of another certificate.
    let next = entry.authority.server("next", &["localhost"]);
    fs::rename(&next.certificate, &entry.certificate.certificate).expect("one file system");
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_reload_failures") == 2).then_some(()));
    assert!(entry.proxy.process().log_tail().contains("is not the key of"));
    assert_eq!(entry.client().certificate(), shown);
    fs::rename(&next.key, &entry.certificate.key).expect("one file system");
    eventually("the new one is shown", SEEN, || (entry.client().certificate() != shown).then_some(()));
    assert_eq!(entry.proxy.metric("tls_reloads"), 1);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_a_port_is_bound() {
    let authority = Authority::new("tests");
    let (one, other) = (authority.server("one", &["a"]), authority.server("other", &["b"]));
    let empty = authority.path("empty");
    fs::write(&empty, "").expect("writable");
    let cases = [
        (authority.path("absent"), one.key.clone(), "absent: cannot be read: No such file"),
        (empty.clone(), one.key.clone(), "empty: holds no certificate"),
        (one.certificate.clone(), empty, "empty: holds no private key"),
        (one.certificate, other.key, "other.key: is not the key of the first certificate in"),
    ];
    for (certificate, key, told) in cases {
        let file = authority.path("slotway.toml");
        let text = format!(
            "[tls]\nlisten = [\"127.0.0.1:1\"]\ncertificate = {certificate:?}\nkey = {key:?}\n[cluster]\nstandalone = \
             \"redis://127.0.0.1:1\"\n"
        );
        fs::write(&file, text).expect("writable");
        let output = Command::new(slotway_tests::proxy::binary()).arg("check").arg(&file).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(told), "{said}");
    }
}
