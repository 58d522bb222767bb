//! Tenants that ask at the same time: shares follow weights, nobody starves, and who is alone is not slowed. Counted at a
//! scripted backend that answers in the order of asking: no clock decides.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use slotway_tests::argv::frame;
use slotway_tests::fake::{Action, Fake};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;

const PATIENCE: Duration = Duration::from_secs(20);

/// A backend that answers GET while its gate is open, and notes the first letters of the keys.
struct Backend {
    fake: Fake,
    got: Arc<Mutex<Vec<u8>>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Backend {
    fn start(value_bytes: usize) -> Self {
        Self::closing(value_bytes, &[])
    }

    /// One that closes the connection instead of answering the GETs of these numbers.
    fn closing(value_bytes: usize, closed: &'static [usize]) -> Self {
        let gate = Arc::new((Mutex::new(true), Condvar::new()));
        let value = "v".repeat(value_bytes);
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let (held, noted) = (Arc::clone(&gate), Arc::clone(&got));
        let fake = Fake::start(move |request| {
            if request.name() == "GET" {
                noted.lock().expect("no panic behind the gate").push(request.argv[1][0]);
                let (open, changed) = &*held;
                let is_open = open.lock().expect("no panic behind the gate");
                let _open = changed.wait_while(is_open, |open| !*open).expect("no panic behind the gate");
            }
            match request.name() == "GET" && closed.contains(&request.nth) {
                true => Action::Close(Vec::new()),
                false => Action::bulk(&value),
            }
        });
        Self { fake, got, gate }
    }

    fn set_open(&self, is_open: bool) {
        *self.gate.0.lock().expect("no panic behind the gate") = is_open;
        self.gate.1.notify_all();
    }

    /// In front of it a proxy of one thread, with a tenant and user of each name, of this weight.
    fn proxy(&self, tenants: &[(&str, u16)]) -> Proxy {
        let tenant = |(name, weight): &(&str, u16)| {
            format!(
                "[[tenants]]\nname = \"{name}\"\nweight = {weight}\n[[tenants.users]]\nname = \"{name}\"\n\
                 passwords_sha256 = [\"{SECRET}\"]\n"
            )
        };
        let tenants: String = tenants.iter().map(tenant).collect();
        let url = format!("redis://{}", self.fake.addr());
        Options::standalone(&url).flag("--threads", "1").config(&tenants).eager().start()
    }

    /// What GETs came, by the first letter of their keys.
    fn got(&self) -> Vec<u8> {
        self.got.lock().expect("no panic behind the gate").clone()
    }

    fn count(&self, letter: u8) -> usize {
        self.got().iter().filter(|got| **got == letter).count()
    }
}

fn client(proxy: &Proxy, user: &str) -> Raw {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("AUTH {user} secret")).text(), "OK");
    client
}

/// What INFO says of `name` to a client of a tenant that asks anyhow.
fn metric(client: &mut Raw, name: &str) -> u64 {
    let text = client.cmd("INFO slotway").text();
    let mut rows = text.lines().filter_map(|line| line.trim().split_once(':'));
    rows.find_map(|(row, value)| (row == name).then(|| value.parse().ok())?).expect("a number of that name")
}

/// So many GETs of a key that begins with the user's name.
fn pipeline(user: &str, count: usize) -> Vec<u8> {
    frame(&["GET", &format!("{user}:key")]).repeat(count)
}

fn read_all(client: &mut Raw, count: usize) {
    for _ in 0..count {
        client.read_frame();
    }
}

#[test]
fn shares_of_tenants_that_want_all_follow_their_weights() {
    const EACH: usize = 3_000;
    let backend = Backend::start(40);
    let proxy = backend.proxy(&[("a", 100), ("b", 200), ("c", 400), ("watcher", 100)]);
    let mut clients: Vec<_> = ["a", "b", "c"].map(|user| (user, client(&proxy, user))).into();
    // Each has a second one, which wants as much: shares are those of tenants.
    clients.push(("b", client(&proxy, "b")));
    // All ask before any is answered.
    for (user, client) in &mut clients {
        client.call(&["GET", &format!("{user}:first")]);
    }
    let before = backend.got().len();
    // Its own tenant's: were it one of a's, it would have to wait with them, until the backend is given up.
    let mut watcher = client(&proxy, "watcher");
    let sent = metric(&mut watcher, "backend_requests");
    backend.set_open(false);
    let senders: Vec<_> = clients
        .iter()
        .map(|(user, client)| {
            let (mut sender, bytes) = (client.sender(), pipeline(user, EACH));
            std::thread::spawn(move || std::io::Write::write_all(&mut sender, &bytes).expect("sent"))
        })
        .collect();
    eventually("each tenant's clients wait", PATIENCE, || {
        (metric(&mut watcher, "tenants_waited") >= 4).then_some(())
    });
    // Whoever came first has all that may be under way, until the others are seen to want it too.
    let at_first = (metric(&mut watcher, "backend_requests") - sent) as usize;
    backend.set_open(true);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|(_, mut client)| {
            std::thread::spawn(move || {
                read_all(&mut client, EACH);
                client
            })
        })
        .collect();
    for thread in senders {
        thread.join().expect("sent");
    }
    for thread in readers {
        thread.join().expect("answered");
    }
    // While all three have something to ask: c, which gets most, asks for EACH.
    let got = &backend.got()[before..];
    let end = got.iter().enumerate().filter(|(_, letter)| **letter == b'c').nth(EACH - 300).expect("c's").0;
    let contended = &got[at_first..end];
    let share =
        |letter| contended.iter().filter(|got| **got == letter).count() as f64 / contended.len() as f64;
    for (letter, wanted) in [(b'a', 1.0 / 7.0), (b'b', 2.0 / 7.0), (b'c', 4.0 / 7.0)] {
        let ratio = share(letter) / wanted;
        println!("{}: {ratio:.2} of its share of {}", char::from(letter), contended.len());
        // Equal shares would be 2.3, 1.2 and 0.6 of these. On a busy machine small ones may be called late.
        let least = if letter == b'c' { 0.7 } else { 0.5 };
        assert!((least..1.6).contains(&ratio), "{}: {ratio}", char::from(letter));
    }
}

#[test]
fn a_huge_pipeline_stands_in_front_of_few_of_anothers_requests() {
    const HUGE: usize = 8_000;
    let backend = Backend::start(16 * 1024);
    let proxy = backend.proxy(&[("a", 100), ("b", 100)]);
    let (mut quiet, mut noisy) = (client(&proxy, "a"), client(&proxy, "b"));
    for _ in 0..100 {
        // What b's replies are like is known by then.
        quiet.cmd("GET a:key");
        noisy.cmd("GET b:key");
    }
    let mut sender = noisy.sender();
    let sending =
        std::thread::spawn(move || std::io::Write::write_all(&mut sender, &pipeline("b", HUGE)).is_ok());
    let reading = std::thread::spawn(move || read_all(&mut noisy, HUGE));
    eventually("b waits", PATIENCE, || (metric(&mut quiet, "tenants_waited") > 0).then_some(()));
    let mut in_front = Vec::new();
    while backend.count(b'b') < HUGE / 2 {
        let before = backend.got().len();
        quiet.cmd("GET a:key");
        let place = backend.got().iter().rposition(|letter| *letter == b'a').expect("a's request");
        in_front.push(place.saturating_sub(before));
    }
    in_front.sort_unstable();
    let most = in_front[in_front.len() * 9 / 10];
    assert!(most <= 24, "of {} requests a tenth found more than {most} of b's in front", in_front.len());
    // Else the tenth above says little.
    assert!(in_front.len() > 50, "a was answered {} times beside {HUGE} of b's", in_front.len());
    reading.join().expect("b is answered");
    assert!(sending.join().expect("b sends"));
}

#[test]
fn who_is_alone_has_all_whatever_its_weight_and_who_else_is_connected() {
    let backend = Backend::start(40);
    let proxy = backend.proxy(&[("a", 1), ("b", 1_000)]);
    let (mut alone, mut silent) = (client(&proxy, "a"), client(&proxy, "b"));
    let mut watcher = client(&proxy, "a");
    silent.cmd("GET b:key");
    eventually("b's request is long ago", PATIENCE, || {
        alone.cmd("GET a:key");
        (metric(&mut watcher, "tenants_contended") == 0).then_some(())
    });
    let (waited, sent) = (metric(&mut watcher, "tenants_waited"), metric(&mut watcher, "backend_requests"));
    backend.set_open(false);
    let before = backend.count(b'a');
    alone.send_bytes(&pipeline("a", 1_000));
    eventually("all is under way, however little its weight", PATIENCE, || {
        (metric(&mut watcher, "backend_requests") - sent >= 1_000).then_some(())
    });
    backend.set_open(true);
    read_all(&mut alone, 1_000);
    assert_eq!(backend.count(b'a') - before, 1_000);
    assert_eq!(metric(&mut watcher, "tenants_waited"), waited, "a waits for nobody");
    assert_eq!(silent.cmd("GET b:key").text().len(), 40);
}

#[test]
fn commands_that_reach_no_backend_wait_for_their_turn_too_and_all_is_in_order() {
    let backend = Backend::start(40);
    let proxy = backend.proxy(&[("a", 100), ("b", 100)]);
    let (mut quiet, mut noisy) = (client(&proxy, "a"), client(&proxy, "b"));
    quiet.cmd("GET a:key");
    let mut sender = noisy.sender();
    let mixed: Vec<u8> = (0..20_000)
        .flat_map(|n| if n % 10 == 0 { frame(&["GET", "b:key"]) } else { frame(&["ECHO", &n.to_string()]) })
        .collect();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &mixed).is_ok());
    for n in 0..20_000 {
        if n % 100 == 0 {
            assert_eq!(quiet.cmd("GET a:key").text().len(), 40);
        }
        let reply = noisy.read().text();
        let wanted = if n % 10 == 0 { "v".repeat(40) } else { n.to_string() };
        assert_eq!(reply, wanted, "request {n}");
    }
    assert!(sending.join().expect("b sends"));
    assert!(metric(&mut quiet, "tenants_waited") > 0, "b had to wait");
}

#[test]
fn who_leaves_while_it_waits_holds_nobody_up() {
    let backend = Backend::start(40);
    let proxy = backend.proxy(&[("a", 100), ("b", 100)]);
    let (mut quiet, mut stays) = (client(&proxy, "a"), client(&proxy, "b"));
    let mut leaving: Vec<_> = (0..20).map(|_| client(&proxy, "b")).collect();
    quiet.cmd("GET a:key");
    stays.cmd("GET b:key");
    backend.set_open(false);
    for client in &mut leaving {
        client.send_bytes(&pipeline("b", 200));
    }
    stays.send_bytes(&pipeline("b", 200));
    eventually("b's clients wait", PATIENCE, || (metric(&mut quiet, "tenants_waited") >= 20).then_some(()));
    drop(leaving);
    backend.set_open(true);
    read_all(&mut stays, 200);
    assert_eq!(quiet.cmd("GET a:key").text().len(), 40);
}

#[test]
fn what_went_with_a_lost_connection_is_under_way_no_longer() {
    const EACH: usize = 600;
    let backend = Backend::closing(40, &[200, 500, 800]);
    let proxy = backend.proxy(&[("a", 100), ("b", 100)]);
    let (mut a, mut b) = (client(&proxy, "a"), client(&proxy, "b"));
    for user in [&mut a, &mut b] {
        user.cmd("GET x:key");
    }
    a.send_bytes(&pipeline("a", EACH));
    b.send_bytes(&pipeline("b", EACH));
    let mut lost = 0;
    for _ in 0..EACH {
        for user in [&mut a, &mut b] {
            let reply = user.read();
            lost += usize::from(reply.is_error());
            assert!(reply.is_error() || reply.text().len() == 40, "{reply:?}");
        }
    }
    assert!(lost > 0, "nothing was lost");
    // As much as ever may be under way.
    eventually("a and b ask at the same time", PATIENCE, || {
        let answered = [&mut a, &mut b].map(|user| !user.cmd("GET x:key").is_error());
        (answered == [true, true] && metric(&mut a, "tenants_contended") == 1).then_some(())
    });
    let sent = metric(&mut a, "backend_requests");
    backend.set_open(false);
    b.send_bytes(&pipeline("b", EACH));
    eventually("much of b is under way", PATIENCE, || {
        (metric(&mut a, "backend_requests") - sent >= 200).then_some(())
    });
    backend.set_open(true);
    read_all(&mut b, EACH);
}
