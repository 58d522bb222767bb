"""Network namespaces on one bridge: a host each. Everything is taken down by the names that were put up."""

import os
import pathlib
import shutil
import subprocess

PREFIX = "slw"
NETWORK = "10.77"


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


class Net:
    """A bridge in a namespace of its own, and hosts that are attached to it."""

    def __init__(self):
        self.tag = f"{PREFIX}{os.getpid() % 100000}"
        self.hub = f"{self.tag}-hub"
        self.hosts = {}
        run("ip", "netns", "add", self.hub)
        self.within(self.hub, "ip", "link", "add", "br0", "type", "bridge")
        self.within(self.hub, "ip", "link", "set", "br0", "up")

    def within(self, namespace, *words):
        return run("ip", "netns", "exec", namespace, *words)

    def add(self, name, addresses, nameserver=None):
        """A host with these addresses; its names are resolved by `nameserver`."""
        namespace, port = f"{self.tag}-{name}", f"h{len(self.hosts)}"
        run("ip", "netns", "add", namespace)
        self.hosts[name] = (namespace, port)
        self.within(self.hub, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self.within(self.hub, "ip", "link", "set", port, "master", "br0", "up")
        for link in ("lo", "eth0"):
            self.within(namespace, "ip", "link", "set", link, "up")
        for address in addresses:
            self.within(namespace, "ip", "address", "add", f"{address}/16", "dev", "eth0")
        if nameserver:
            # What `ip netns exec` puts in the place of /etc/resolv.conf.
            folder = pathlib.Path("/etc/netns") / namespace
            folder.mkdir(parents=True)
            (folder / "resolv.conf").write_text(f"nameserver {nameserver}\noptions timeout:1 attempts:3\n")

    def cap(self, name, mbit):
        """No more than this to the host, and from it."""
        namespace, port = self.hosts[name]
        shape = ["root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "100ms"]
        self.within(self.hub, "tc", "qdisc", "replace", "dev", port, *shape)
        self.within(namespace, "tc", "qdisc", "replace", "dev", "eth0", *shape)

    def sent(self, name):
        """Bytes that the host has sent."""
        _, port = self.hosts[name]
        text = self.within(self.hub, "cat", f"/sys/class/net/{port}/statistics/rx_bytes").stdout
        return int(text)

    def all_sent(self, names):
        """The same of several hosts, by one command."""
        files = [f"/sys/class/net/{self.hosts[name][1]}/statistics/rx_bytes" for name in names]
        return [int(line) for line in self.within(self.hub, "cat", *files).stdout.split()]

    def command(self, name, *words):
        return ["ip", "netns", "exec", self.hosts[name][0], *words]

    def down(self):
        for namespace, _ in self.hosts.values():
            run("ip", "netns", "del", namespace, check=False)
            shutil.rmtree(pathlib.Path("/etc/netns") / namespace, ignore_errors=True)
        run("ip", "netns", "del", self.hub, check=False)
