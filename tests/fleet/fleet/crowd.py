"""The clients: processes of `load.py`, each in a host with a resolver of its own, and what they tell."""

import json
import pathlib
import sys
import threading

from . import net as network
from . import parts

HERE = pathlib.Path(__file__).parent


class Crowd:
    def __init__(self, fleet, moves, seed=1):
        self.fleet, self.told, self.processes = fleet, [], []
        options = fleet.options
        total = int(options.demand * options.entries * options.mbit * 125_000)
        each = options.applications // options.resolvers
        for number in range(options.resolvers):
            host = f"clients{number}"
            if host not in fleet.net.hosts:
                fleet.net.add(host, [f"{network.NETWORK}.4.{number + 1}"], parts.resolver_address(number))
            words = [sys.executable, str(HERE / "load.py"), str(seed), str(number * each), str(each),
                     str(options.threads), str(total), str(int(moves)), str(each * options.resolvers)]
            process = self.spawn(host, words)
            self.processes.append(process)
            self.told.append({"bytes": 0, "errors": 0, "last": [], "hosts": {}})
            threading.Thread(target=self.listen, args=(number, process), daemon=True).start()

    def spawn(self, host, words):
        import subprocess
        log = open(self.fleet.folder / f"{host}.log", "ab")
        process = subprocess.Popen(self.fleet.net.command(host, *words), stdout=subprocess.PIPE, stderr=log)
        log.close()
        return process

    def listen(self, number, process):
        for line in process.stdout:
            self.told[number] = json.loads(line)

    @property
    def errors(self):
        return sum(told["errors"] for told in self.told)

    @property
    def last_errors(self):
        return [error for told in self.told for error in told["last"]]

    @property
    def bytes(self):
        return sum(told["bytes"] for told in self.told)

    def hosts(self):
        found = {}
        for told in self.told:
            for host, count in told["hosts"].items():
                found[host] = found.get(host, 0) + count
        return found

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except Exception:
                process.kill()
                process.wait()
