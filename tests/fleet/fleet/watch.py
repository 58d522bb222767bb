"""What is seen from outside: bytes that each entry sends, and what the name resolves to."""

import threading
import time

from . import parts


class Bytes:
    """A sample a second of what each entry sends, in bytes a second."""

    def __init__(self, fleet):
        self.fleet, self.samples, self.running = fleet, [], True
        self.names = [f"entry{number}" for number in range(fleet.options.entries)]
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        before, at = self.fleet.net.all_sent(self.names), time.monotonic()
        while self.running:
            time.sleep(1)
            now, then = self.fleet.net.all_sent(self.names), time.monotonic()
            rates = [(b - a) / (then - at) for a, b in zip(before, now)]
            self.samples.append((then - self.began, rates))
            before, at = now, then

    def end(self):
        self.running = False
        self.thread.join()
        return self.samples

    def mean(self, seconds):
        """The mean of the last so many seconds, of each entry."""
        last = [rates for _, rates in self.samples[-seconds:]]
        return [sum(column) / len(last) for column in zip(*last)]


class Answers:
    """Asks the authority and a resolver all the time; remembers every answer that is new, and every bad one."""

    def __init__(self, fleet, servers):
        self.fleet, self.servers, self.running = fleet, servers, True
        self.changes = {server: [] for server in servers}
        self.bad, self.silent, self.asked = [], 0, 0
        self.threads = [threading.Thread(target=self.run, args=(server,), daemon=True) for server in servers]
        for thread in self.threads:
            thread.start()

    def run(self, server):
        while self.running:
            now = time.monotonic()
            answer = self.fleet.dig(server)
            self.asked += 1
            if answer is None:
                # It does not answer: resolvers ask again.
                self.silent += 1
            elif not answer:
                self.bad.append((now, server))
            elif not self.changes[server] or self.changes[server][-1][1] != answer:
                self.changes[server].append((now, answer))
            time.sleep(0.1)

    def gone_at(self, server, address, since):
        """How long after `since` the last answer with this address was followed by one without; `None` if not yet, or
        if none had it in the first place."""
        changes = list(self.changes[server])
        named = [place for place, (_, answer) in enumerate(changes) if address in answer]
        if not named or named[-1] + 1 == len(changes):
            return None
        return max(0.0, changes[named[-1] + 1][0] - since)

    def named_by_all(self, address):
        """Whether the newest answer of each server has this address."""
        return all(changes and address in changes[-1][1] for changes in self.changes.values())

    def end(self):
        self.running = False
        for thread in self.threads:
            thread.join()


def resolvers(fleet):
    return [parts.resolver_address(number) for number in range(fleet.options.resolvers)]
