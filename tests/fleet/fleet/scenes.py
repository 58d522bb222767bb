"""What is shown, one scene after the other. Each gives rows: what was asked, what was seen, whether that is enough."""

import signal
import time

from . import parts
from .crowd import Crowd
from .watch import Answers, Bytes


def carried(fleet, rates):
    """What part of all caps is carried, and what part of its cap the fullest entry carries."""
    cap = fleet.options.mbit * 125_000
    return sum(rates) / (cap * len(rates)), max(rates) / cap


def filling(fleet, moves, seconds):
    """All clients begin at one entry; then the others are there."""
    crowd = Crowd(fleet, moves)
    wanted = fleet.options.applications // fleet.options.resolvers * fleet.options.resolvers * fleet.options.threads
    try:
        parts.wait("all clients are at the first entry", 60,
                   lambda: crowd.hosts().get(parts.entry_address(0), 0) >= wanted * 0.95)
        time.sleep(3)
        watched = Bytes(fleet)
        time.sleep(5)
        fleet.write_settings()
        began = time.monotonic() - watched.began
        time.sleep(seconds)
        last = watched.mean(10)
        samples = [(at - began, rates) for at, rates in watched.end()]
        reached = next((at for at, rates in samples if at > 0 and carried(fleet, rates)[0] >= 0.9), None)
    except BaseException:
        crowd.end()
        raise
    part, fullest = carried(fleet, last)
    return crowd, samples, {"part": part, "fullest": fullest, "reached": reached, "errors": crowd.errors}


def death(fleet, crowd):
    """A balancer dies: one whose address is being given out, by the authority and by a resolver's cache."""
    answers = Answers(fleet, [fleet.asked(), parts.resolver_address(0)])
    entries = range(fleet.options.entries)
    named = parts.wait("an entry is in both answers", 60, lambda: [
        entry for entry in entries if answers.named_by_all(parts.entry_address(entry))])
    victim, address = named[-1], parts.entry_address(named[-1])
    at = time.monotonic()
    fleet.entries[victim].process.kill()
    fleet.entries[victim].process.wait()
    time.sleep(15)
    gone = answers.gone_at(fleet.asked(), address, at)
    resolver = answers.gone_at(parts.resolver_address(0), address, at)
    fleet.entries[victim].start()
    time.sleep(12)
    answers.end()
    back = any(address in answer for when, answer in answers.changes[fleet.asked()] if when > at + 15)
    name = "nothing" if gone is None else f"{gone:.1f} s"
    later = "not in 15 s" if resolver is None else f"{resolver:.1f} s (TTL 5 s)"
    return [
        ("a dead entry is out of the authority's answers within 3 s", name, gone is not None and gone <= 3),
        ("... and out of a resolver's", later, resolver is not None),
        ("... and back once it answers", "yes" if back else "no", back),
        ("no answer without an address meanwhile", str(len(answers.bad)), not answers.bad),
    ]


def connections(fleet, entry):
    """How many connections all proxies have by an entry, as the first one says."""
    line = next(line for line in fleet.page(0, "/entries").splitlines() if line.startswith(f"e{entry}: "))
    return int(line.split(" connections")[0].rsplit(" ", 1)[1])


def drain_entry(fleet, crowd):
    """An entry is to be left."""
    before = crowd.errors
    fleet.write_settings(drain=[1])
    at = time.monotonic()
    try:
        # By the proxies: a pool may keep a socket that it has not seen closed.
        parts.wait("nobody is left", 90, lambda: connections(fleet, 1) == 0)
        took = f"{time.monotonic() - at:.0f} s"
        left = True
    except TimeoutError:
        took, left = f"{connections(fleet, 1)} connections after 90 s", False
    time.sleep(5)
    errors = crowd.errors - before
    fleet.write_settings()
    time.sleep(5)
    return [
        ("an entry that is drained is left by all", took, left),
        ("... with 0 client errors", f"{errors} {crowd.last_errors if errors else ''}", errors == 0),
    ]


def drain_proxy(fleet, crowd):
    """A proxy is ended for an upgrade, and comes back."""
    before = crowd.errors
    proxy = fleet.proxies[-1]
    proxy.tell(signal.SIGTERM)
    began = time.monotonic()
    code = proxy.process.wait(60)
    took = time.monotonic() - began
    time.sleep(5)
    errors = crowd.errors - before
    proxy.start()
    number = fleet.options.proxies - 1
    parts.wait("the proxy is ready again", 30, lambda: "200" in fleet.page(number, "/ready"))
    time.sleep(5)
    errors_back = crowd.errors - before
    return [
        ("a proxy that is ended, ends", f"code {code} after {took:.0f} s", code == 0),
        ("... with 0 client errors", f"{errors} {crowd.last_errors if errors else ''}", errors == 0),
        ("... and comes back with none", str(errors_back), errors_back == 0),
    ]


def faults(fleet, crowd):
    """The authority is restarted, reports are lost, the hash is deleted; both proxies plan all the time."""
    servers = [fleet.asked(), parts.resolver_address(0), parts.resolver_address(1 % fleet.options.resolvers)]
    answers = Answers(fleet, servers)
    before = crowd.errors
    time.sleep(3)
    if fleet.options.authority in ("bind", "knot", "powerdns"):
        fleet.authority.end()
        time.sleep(3)
        fleet.authority.start()
        time.sleep(8)
    key = f"__slotway:{{{parts.NAME}}}"
    for _ in range(3):
        fleet.redis("DEL", f"{key}:entries", f"{key}:leader")
        time.sleep(2)
    # Its reports stop for longer than they are believed; its clients wait.
    quiet = fleet.proxies[-1]
    quiet.tell(signal.SIGSTOP)
    time.sleep(4)
    quiet.tell(signal.SIGCONT)
    time.sleep(12)
    settled = time.monotonic()
    time.sleep(25)
    answers.end()
    late = [at for at, _ in answers.changes[fleet.asked()] if at > settled]
    # Each answer of the responder is another one by design.
    steady = len(late) <= 6 or fleet.options.authority == "responder"
    errors = crowd.errors - before
    return [
        ("answers stay valid through all faults", f"{len(answers.bad)} bad of {answers.asked}", not answers.bad),
        ("the answer changes little once faults have stopped", f"{len(late)} changes in 25 s", steady),
        ("clients see 0 errors", f"{errors} {crowd.last_errors if errors else ''}", errors == 0),
    ]


SCENES = {"death": death, "drain-entry": drain_entry, "drain-proxy": drain_proxy, "faults": faults}
