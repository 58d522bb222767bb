//! TLS of clients: both versions beside plain ones, whom they believe, and certificates of their own.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use slotway_tests::certs::{Authority, Who};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Options;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::tls::TlsOptions;
use slotway_tests::tls_entry::{Entry, SEEN, is_served, over_one_server, with_client_auth};

#[test]
fn both_versions_are_spoken_and_one_can_be_left_out() {
    let server = Server::start();
    let url = format!("redis://{}", server.addr());
    let both = Entry::start(Options::standalone(&url), "");
    assert_eq!(both.client().cmd("PING").text(), "PONG");
    assert_eq!(both.options().only_12().connect(&both.addr()).cmd("PING").text(), "PONG");
    let new = Entry::start(Options::standalone(&url), "versions = [\"1.3\"]");
    assert_eq!(new.client().cmd("PING").text(), "PONG");
    let refused = new.options().only_12().try_connect(&new.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("ProtocolVersion")));
    eventually("it is counted", SEEN, || (new.proxy.metric("tls_failed_incompatible") == 1).then_some(()));
    assert_eq!((both.proxy.metric("tls_handshakes"), new.proxy.metric("tls_handshakes")), (2, 1));
}

#[test]
fn who_does_not_believe_the_authority_does_not_connect() {
    let (_server, entry) = over_one_server();
    let refused = TlsOptions::new(&Authority::new("another")).try_connect(&entry.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("UnknownIssuer")));
    eventually("it is counted", SEEN, || (entry.proxy.metric("tls_failed_refused") == 1).then_some(()));
    let refused = entry.options().named("elsewhere").try_connect(&entry.addr());
    assert!(refused.is_err_and(|error| error.to_string().contains("not valid for name")));
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let server = Server::start();
    let authority = Authority::new("names");
    let default = authority.server("default", &["localhost"]);
    let one = authority.server("one", &["one.example"]);
    let wild = authority.server("wild", &["*.two.example"]);
    let names = [("ONE.example", &one), ("*.two.example", &wild)].map(|(name, pair)| {
        format!(
            "[[tls.names]]\nname = {name:?}\ncertificate = {:?}\nkey = {:?}\n",
            pair.certificate, pair.key
        )
    });
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let entry = Entry::with(options, authority, default, &names.concat());
    let shown = |name: &str| entry.options().named(name).try_connect(&entry.addr());
    for name in ["localhost", "one.example", "a.two.example", "b.two.example"] {
        let mut client = shown(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(client.cmd("PING").text(), "PONG", "{name}");
    }
    // Names that nobody knows are shown the default one.
    assert!(shown("three.example").is_err_and(|error| error.to_string().contains("not valid for name")));
}

#[test]
fn certificates_of_clients_are_required_or_optional_and_tell_who_they_are() {
    let (believed, other) = (Authority::new("clients"), Authority::new("others"));
    let who = Who {
        common_name: "app one",
        dns: Some("App.example"),
        uri: Some("spiffe://example/app"),
        email: Some("app@example.com"),
    };
    let (right, wrong) = (believed.client("right", who), other.client("wrong", who));
    for (auth, without) in [("required", false), ("optional", true)] {
        let (_server, entry) = with_client_auth(auth, &believed);
        for options in [entry.options(), entry.options().only_12()] {
            let addr = entry.addr();
            assert_eq!(is_served(&options, &addr), without, "{auth}");
            assert!(is_served(&options.clone().showing(&right), &addr), "{auth}");
            assert!(!is_served(&options.showing(&wrong), &addr), "{auth}");
        }
        let told =
            "tls=name=localhost cn=app one dns=app.example uri=spiffe://example/app email=app@example.com";
        assert!(entry.proxy.process().log_tail().contains(told), "{}", entry.proxy.process().log_tail());
        let failed = if without { 2 } else { 4 };
        eventually("they are counted", SEEN, || {
            (entry.proxy.metric("tls_failed_certificate") == failed).then_some(())
        });
    }
}

#[test]
fn a_name_that_is_asked_for_and_a_certificate_lead_to_their_tenants() {
    let believed = Authority::new("clients");
    let server = Server::start();
    let tenants = "[[users]]\nname = \"ops\"\nnopass = true\n\
         [[tenants]]\nname = \"shop\"\ntls_names = [\"shop.example\"]\n\
         users = [{ name = \"default\", nopass = true }]\n\
         [[tenants]]\nname = \"web\"\n\
         users = [{ name = \"web\", tls_subjects = [\"URI:spiffe://example/web\", \"DNS:Web.example\"] }]\n";
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let authority = Authority::new("doors");
    let certificate = authority.server("server", &["localhost", "shop.example"]);
    let more = format!("client_auth = \"optional\"\nclient_ca = {:?}\n{tenants}", believed.file);
    let entry = Entry::with(options, authority, certificate, &more);
    let whoami = |options: TlsOptions| options.connect(&entry.addr()).cmd("ACL WHOAMI");

    // Whoever asks for the tenant's name is its default user, and can't be another tenant's.
    let mut shop = entry.options().named("shop.example").connect(&entry.addr());
    assert_eq!(shop.cmd("ACL WHOAMI").text(), "default");
    assert!(shop.cmd("AUTH ops any").error().starts_with("WRONGPASS"));

    // A certificate is its user without AUTH, by any of its names, also after RESET; without one AUTH is needed where
    // the tenant at the door has no open user: here everybody's door, at which `default` is shop's.
    for who in [
        Who { common_name: "x", uri: Some("spiffe://example/web"), ..Who::default() },
        Who { common_name: "x", dns: Some("web.example"), ..Who::default() },
    ] {
        let issued = believed.client("web", who);
        let mut web = entry.options().showing(&issued).connect(&entry.addr());
        assert_eq!(web.cmd("ACL WHOAMI").text(), "web");
        assert_eq!(web.cmd("AUTH ops any").text(), "OK");
        assert_eq!(web.cmd("ACL WHOAMI").text(), "ops");
        assert_eq!(web.cmd("RESET").text(), "RESET");
        assert_eq!(web.cmd("ACL WHOAMI").text(), "web");
        // At another tenant's door it is nobody's.
        assert_eq!(whoami(entry.options().named("shop.example").showing(&issued)).text(), "default");
    }
    let stranger = believed.client("stranger", Who { common_name: "web", ..Who::default() });
    assert_eq!(whoami(entry.options().showing(&stranger)).text(), "default");
    assert!(entry.client().cmd("AUTH web any").error().starts_with("WRONGPASS"), "it has no password");
}

#[test]
fn an_authority_of_clients_that_is_replaced_is_not_believed_any_more() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (_server, entry) = with_client_auth("required", &old);
    let who = Who { common_name: "app", ..Who::default() };
    let (of_old, of_new) = (old.client("client", who), new.client("client", who));
    let addr = entry.addr();
    let mut stays = entry.options().showing(&of_old).connect(&addr);
    assert_eq!(stays.cmd("PING").text(), "PONG");
    assert!(!is_served(&entry.options().showing(&of_new), &addr));
    fs::copy(&new.file, &old.file).expect("writable");
    eventually("the new one is", SEEN, || is_served(&entry.options().showing(&of_new), &addr).then_some(()));
    assert!(!is_served(&entry.options().showing(&of_old), &addr));
    assert_eq!(stays.cmd("PING").text(), "PONG", "who was there stays");
}

#[test]
fn clients_over_tls_are_answered_before_a_graceful_end() {
    let (_server, mut entry) = over_one_server();
    let mut client = entry.client();
    assert_eq!(client.cmd("SET k v").text(), "OK");
    let _shaking = TcpStream::connect(entry.addr()).expect("it listens");
    entry.proxy.ask_to_end();
    assert!(client.is_closed_politely());
    assert!(entry.proxy.wait(SEEN).success());
}

#[test]
fn the_client_limit_counts_those_that_shake_hands() {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr())).set(&["clients.max_clients=2"]);
    let entry = Entry::start(options, "");
    let mut one = entry.client();
    // Whoever asked whether it serves may be there for a moment longer.
    eventually("it is alone", SEEN, || {
        one.cmd("INFO slotway").text().lines().any(|line| line.trim() == "clients:1").then_some(())
    });
    let shaking = TcpStream::connect(entry.addr()).expect("it listens");
    eventually("the limit is reached", SEEN, || {
        one.cmd("INFO slotway").text().contains("tls_handshaking:1").then_some(())
    });
    assert!(entry.options().try_connect(&entry.addr()).is_err());
    let said = Raw::connect(&entry.proxy.addr()).read_to_close();
    assert!(said.starts_with(b"-ERR max number of clients reached"), "{}", said.escape_ascii());
    drop(shaking);
    eventually("there is room again", SEEN, || entry.options().try_connect(&entry.addr()).ok().map(drop));
}

/// What an idle TLS client costs the process, handshake, keys and record in all.
const IDLE_LIMIT: u64 = 12 * 1024;

#[test]
fn an_idle_client_costs_little_whatever_it_speaks() {
    const WARM: usize = 200;
    const COUNT: usize = 2_000;
    let authority = Authority::new("clients");
    let shown = authority.client("client", Who { common_name: "app", ..Who::default() });
    for kind in ["TLS 1.3", "TLS 1.2", "TLS 1.3 with a certificate"] {
        // A new process each: what one kind gives back would be the next one's.
        let (_server, entry) = with_client_auth("optional", &authority);
        let options = match kind {
            "TLS 1.3" => entry.options(),
            "TLS 1.2" => entry.options().only_12(),
            _ => entry.options().showing(&shown),
        };
        let mut clients = options.connect_many(&entry.addr(), WARM);
        let before = entry.proxy.process().resident_bytes();
        clients.extend(options.connect_many(&entry.addr(), COUNT));
        for client in &mut clients {
            assert_eq!(client.cmd("PING").text(), "PONG");
        }
        // What handshakes have left is given back within a second or so.
        thread::sleep(Duration::from_secs(2));
        let after = entry.proxy.process().resident_bytes();
        let each = after.saturating_sub(before) / COUNT as u64;
        println!("an idle client over {kind}: {each} bytes");
        assert!(each <= IDLE_LIMIT, "{kind}: {each} bytes");
        drop(clients);
        eventually("they are gone", SEEN, || (entry.proxy.metric("tls_clients") == 0).then_some(()));
    }
}
