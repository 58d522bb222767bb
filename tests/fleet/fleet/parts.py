"""The fleet's programs: a Redis cluster, proxies, balancers, an authority, resolvers."""

import pathlib
import shutil
import signal
import subprocess
import time

from . import net as network

NAME = "redis.fleet.test"
SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
PORT, ADMIN = 6379, 9121


def entry_address(number):
    return f"{network.NETWORK}.1.{number + 1}"


def proxy_address(number):
    return f"{network.NETWORK}.2.{number + 1}"


AUTHORITY = f"{network.NETWORK}.3.1"
CLUSTER = f"{network.NETWORK}.5.1"


def resolver_address(number):
    return f"{network.NETWORK}.3.{number + 11}"


class Part:
    """A program in a host, ended by its own id."""

    def __init__(self, net, host, words, log):
        self.net, self.host, self.words, self.log = net, host, words, log
        self.process = None
        self.start()

    def start(self):
        # `ip netns exec` becomes the program: the id is its own.
        out = open(self.log, "ab")
        self.process = subprocess.Popen(self.net.command(self.host, *self.words), stdout=out, stderr=out)
        out.close()

    def tell(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM, within=15):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def wait(what, within, probe):
    """What `probe` gives, once it is something."""
    end = time.monotonic() + within
    while True:
        try:
            found = probe()
        except (OSError, subprocess.SubprocessError):
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within} s: {what}")
        time.sleep(0.1)


class Fleet:
    """Everything but the clients."""

    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.net = network.Net()
        self.parts = []
        self.entries, self.proxies = [], []

    def begin(self, name, host, words):
        part = Part(self.net, host, words, self.folder / f"{name}.log")
        self.parts.append(part)
        return part

    def down(self):
        for part in reversed(self.parts):
            part.end(within=3)
        self.net.down()

    def up(self):
        self.start_cluster()
        self.start_authority()
        for number in range(self.options.resolvers):
            self.start_resolver(number)
        for number in range(self.options.proxies):
            self.start_proxy(number)
        for number in range(self.options.entries):
            self.start_entry(number)
        for number in range(self.options.proxies):
            wait("a proxy is ready", 30, lambda number=number: "200" in self.page(number, "/ready"))

    def start_cluster(self):
        self.net.add("redis", [CLUSTER])
        for port in (7001, 7002, 7003):
            folder = self.folder / f"redis-{port}"
            folder.mkdir()
            words = ["redis-server", "--port", str(port), "--bind", CLUSTER, "--cluster-enabled", "yes", "--save", "",
                     "--appendonly", "no", "--dir", str(folder), "--protected-mode", "no",
                     "--cluster-announce-ip", CLUSTER]
            self.begin(f"redis-{port}", "redis", words)
        nodes = [f"{CLUSTER}:{port}" for port in (7001, 7002, 7003)]
        create = ["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"]
        wait("the cluster is made", 30, lambda: subprocess.run(
            self.net.command("redis", *create), capture_output=True, text=True).returncode == 0)

    def redis(self, *words):
        words = ["redis-cli", "-c", "-h", CLUSTER, "-p", "7001", *words]
        return subprocess.run(self.net.command("redis", *words), capture_output=True, text=True).stdout

    def settings(self, number, entries=None, drain=(), publishes=True):
        """The settings file of a proxy: of these entries, all of them where none are named."""
        own = proxy_address(number)
        entries = range(self.options.entries) if entries is None else entries
        text = [
            f'listen = ["{own}:{PORT}", "{own}:6380"]',
            f'admin = "{own}:{ADMIN}"',
            "threads = 1",
            'leave_delay = "5s"',
            f'[cluster]\nseeds = ["redis://{CLUSTER}:7001"]',
            f'[fleet]\nname = "{NAME}"\nport = {PORT}\nproxy_protocol = ["{own}:{PORT}"]',
        ]
        if publishes and self.options.authority in ("bind", "knot", "powerdns"):
            text.append(
                f'[fleet.rfc2136]\nservers = ["{AUTHORITY}:53"]\nzone = "fleet.test"\nkey_name = "slotway"\n'
                f'key = "{SECRET}"\nttl = "5s"')
        if self.options.authority == "responder" and number == 0:
            text.append(
                f'[fleet.responder]\nlisten = ["{own}:53"]\nttl = "5s"\nrate = "off"\n'
                f'nameservers = [{{ name = "ns.{NAME}", addresses = ["{own}"] }}]')
        for entry in entries:
            text.append(
                f'[[fleet.entries]]\nid = "e{entry}"\naddresses = ["{entry_address(entry)}"]\n'
                f'cap = "{self.options.mbit}Mbit"\ndrain = {str(entry in drain).lower()}')
        return "\n".join(text) + "\n"

    def write_settings(self, **which):
        """Has all proxies read other settings."""
        for number, proxy in enumerate(self.proxies):
            (self.folder / f"proxy-{number}.toml").write_text(self.settings(number, **which))
            if proxy.process.poll() is None:
                proxy.tell(signal.SIGHUP)

    def start_proxy(self, number):
        host = f"proxy{number}"
        if host not in self.net.hosts:
            self.net.add(host, [proxy_address(number)])
        file = self.folder / f"proxy-{number}.toml"
        # At first one entry is all there is, and its name is in DNS already.
        file.write_text(self.settings(number, entries=[0], publishes=False))
        part = self.begin(f"proxy-{number}", host, [self.options.slotway, "run", "--config", str(file)])
        self.proxies.append(part)

    def page(self, number, path):
        address = f"http://{proxy_address(number)}:{ADMIN}{path}"
        words = ["curl", "-s", "-m", "2", "-i", address]
        return subprocess.run(self.net.command("redis", *words), capture_output=True, text=True).stdout

    def start_entry(self, number):
        host, own = f"entry{number}", entry_address(number)
        self.net.add(host, [own])
        servers = "\n".join(
            f"  server p{proxy} {proxy_address(proxy)}:{PORT} send-proxy-v2 check port {ADMIN} inter 500ms fall 1 rise 1"
            for proxy in range(self.options.proxies))
        file = self.folder / f"haproxy-{number}.cfg"
        file.write_text(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 3s\n  timeout client 1h\n"
            f"  timeout server 1h\nfrontend redis\n  bind {own}:{PORT}\n  default_backend proxies\n"
            f"backend proxies\n  balance leastconn\n  option httpchk GET /ready\n{servers}\n")
        self.entries.append(self.begin(f"haproxy-{number}", host, ["haproxy", "-db", "-f", str(file)]))
        self.net.cap(host, self.options.mbit)

    def start_authority(self):
        self.net.add("authority", [AUTHORITY])
        folder = self.folder / "authority"
        folder.mkdir()
        zone = (
            "$ORIGIN fleet.test.\n$TTL 5\n@ SOA ns hostmaster 1 60 30 86400 5\n@ NS ns\n"
            f"ns A {AUTHORITY}\nredis A {entry_address(0)}\n")
        if self.options.authority == "responder":
            zone = zone.replace(f"redis A {entry_address(0)}\n", f"redis NS ns.redis\nns.redis A {proxy_address(0)}\n")
        (folder / "fleet.zone").write_text(zone)
        start = {"knot": self.start_knot, "powerdns": self.start_powerdns}
        self.authority = start.get(self.options.authority, self.start_bind)(folder)
        where = proxy_address(0) if self.options.authority == "responder" else AUTHORITY
        if self.options.authority != "responder":
            wait("the authority answers", 20, lambda: self.dig(where))

    def start_bind(self, folder):
        (folder / "named.conf").write_text(
            f'options {{ directory "{folder}"; listen-on {{ {AUTHORITY}; }}; listen-on-v6 {{ none; }}; '
            f'recursion no; pid-file none; session-keyfile none; notify no; }};\ncontrols {{ }};\n'
            f'key slotway {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'
            'zone "fleet.test" { type primary; file "fleet.zone"; update-policy { grant slotway name '
            f'{NAME} A AAAA; }}; }};\n')
        return self.begin("authority", "authority", ["named", "-g", "-c", str(folder / "named.conf")])

    def start_knot(self, folder):
        (folder / "knot.conf").write_text(
            f"server:\n  rundir: {folder}\n  listen: {AUTHORITY}@53\ndatabase:\n  storage: {folder}\n"
            f"key:\n- id: slotway\n  algorithm: hmac-sha256\n  secret: {SECRET}\n"
            "acl:\n- id: updates\n  key: slotway\n  action: [update, query]\n"
            f"zone:\n- domain: fleet.test\n  storage: {folder}\n  file: fleet.zone\n  acl: updates\n")
        return self.begin("authority", "authority", ["knotd", "-c", str(folder / "knot.conf")])

    def start_powerdns(self, folder):
        database = folder / "pdns.sqlite3"
        schema = pathlib.Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
        if not schema.exists():
            schema = next(pathlib.Path("/usr/share/doc").glob("pdns-backend-sqlite3/**/schema.sqlite3.sql*"))
        subprocess.run(["sqlite3", database], input=schema.read_text(), text=True, check=True)
        (folder / "pdns.conf").write_text(
            f"launch=gsqlite3\ngsqlite3-database={database}\nlocal-address={AUTHORITY}\nsocket-dir={folder}\n"
            "dnsupdate=yes\nallow-dnsupdate-from=0.0.0.0/0\nquery-cache-ttl=0\ncache-ttl=0\nguardian=no\ndaemon=no\n")
        tool = ["pdnsutil", f"--config-dir={folder}"]
        for words in (["load-zone", "fleet.test", str(folder / "fleet.zone")],
                      ["import-tsig-key", "slotway", "hmac-sha256", SECRET],
                      ["set-meta", "fleet.test", "TSIG-ALLOW-DNSUPDATE", "slotway"]):
            subprocess.run([*tool, *words], check=True, capture_output=True)
        return self.begin("authority", "authority", ["pdns_server", f"--config-dir={folder}"])

    def start_resolver(self, number):
        host, own = f"resolver{number}", resolver_address(number)
        self.net.add(host, [own])
        folder = self.folder / f"unbound-{number}"
        folder.mkdir()
        stub = proxy_address(0) if self.options.authority == "responder" else AUTHORITY
        zone = NAME if self.options.authority == "responder" else "fleet.test"
        (folder / "unbound.conf").write_text(
            f'server:\n  interface: {own}\n  access-control: {network.NETWORK}.0.0/16 allow\n  do-daemonize: no\n'
            f'  username: ""\n  chroot: ""\n  use-syslog: no\n  directory: "{folder}"\n  pidfile: ""\n'
            '  module-config: "iterator"\n  serve-expired: yes\n  local-zone: "test." nodefault\n'
            f'stub-zone:\n  name: "{zone}"\n  stub-addr: {stub}\n')
        self.begin(f"unbound-{number}", host, ["unbound", "-d", "-c", str(folder / "unbound.conf")])

    def dig(self, server):
        """The addresses that a server gives for the name; `None` where it does not answer."""
        words = ["dig", f"@{server}", "+short", "+tries=1", "+timeout=1", NAME]
        asked = subprocess.run(self.net.command("redis", *words), capture_output=True, text=True)
        if asked.returncode != 0:
            return None
        return sorted(line for line in asked.stdout.split() if line.startswith(network.NETWORK))

    def asked(self):
        """Where the fleet's name is asked for."""
        return proxy_address(0) if self.options.authority == "responder" else AUTHORITY


def missing(authority):
    """Programs that are not installed, of those that a run needs."""
    programs = ["ip", "tc", "haproxy", "named", "unbound", "redis-server", "redis-cli", "dig", "curl"]
    programs += {"knot": ["knotd"], "powerdns": ["pdns_server", "pdnsutil", "sqlite3"]}.get(authority, [])
    return [program for program in programs if shutil.which(program) is None]
