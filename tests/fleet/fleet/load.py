"""Applications with redis-py, its defaults: each a pool of threads that read values of its own, as often as it wants to.

    load.py SEED FIRST COUNT THREADS TOTAL MOVES

TOTAL bytes a second are what all applications together want, heavy-tailed: a lognormal share each. MOVES is 0 for clients
that do not take MOVING. A line of JSON a second on standard output: bytes read, errors, connections by host."""

import json
import random
import signal
import sys
import threading
import time

import redis
from redis.maint_notifications import MaintNotificationsConfig

NAME, PORT, VALUE = "redis.fleet.test", 6379, 16_384
SEED, FIRST, COUNT, THREADS, TOTAL, MOVES = (int(word) for word in sys.argv[1:7])


def shares(count):
    """What part of the whole each application wants; the same list in every process."""
    dice = random.Random(SEED)
    weights = [min(dice.lognormvariate(0, 1), 5) for _ in range(count)]
    return [weight / sum(weights) for weight in weights]


class Application:
    def __init__(self, number, wanted):
        self.number, self.wanted = number, wanted
        self.bytes, self.errors = 0, []
        settings = {} if MOVES else {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
        # Applications are told apart by what they call themselves: they all run on a few addresses here.
        self.client = redis.Redis(host=NAME, port=PORT, lib_name=f"app{number}", **settings)
        for number in range(THREADS):
            threading.Thread(target=self.read, args=(number,), daemon=True).start()

    def read(self, number):
        pause = VALUE * THREADS / self.wanted
        key, due = f"app:{self.number}:{number}", time.monotonic() + random.random() * pause
        written = False
        while True:
            time.sleep(max(0, due - time.monotonic()))
            # Whoever is behind does not make up for all of it.
            due = max(due + pause, time.monotonic() - 1)
            try:
                if not written:
                    self.client.set(key, b"x" * VALUE)
                    written = True
                self.bytes += len(self.client.get(key))
            except redis.RedisError as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    def hosts(self):
        pool = self.client.connection_pool
        found = {}
        for connection in list(pool._available_connections) + list(pool._in_use_connections):
            try:
                host = connection._sock.getpeername()[0]
            except (AttributeError, OSError):
                continue
            found[host] = found.get(host, 0) + 1
        return found


def main():
    every = int(sys.argv[7])
    wanted = shares(every)
    own = [Application(number, wanted[number] * TOTAL) for number in range(FIRST, FIRST + COUNT)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(1)
        hosts = {}
        for application in own:
            for host, count in application.hosts().items():
                hosts[host] = hosts.get(host, 0) + count
        errors = [error for application in own for error in application.errors]
        line = {"bytes": sum(a.bytes for a in own), "errors": len(errors), "last": errors[-3:], "hosts": hosts}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
