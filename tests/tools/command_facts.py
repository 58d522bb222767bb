#!/usr/bin/env python3
"""Writes the table of command facts from COMMAND INFO and COMMAND DOCS of running servers.

    command_facts.py HOST:PORT ... > proxy/src/command/facts.txt

The servers are given oldest first. Rows are united; where servers differ on a command the newest one's row
is taken, unless it would lose keys that an older server knows: then the older one's keys stay, and standard
error says so.
Needs python3 only.
"""

import socket
import sys

HEADER = """\
# What the servers say of their commands: one command or subcommand a row, sorted by name. Made by
# tests/tools/command_facts.py from {servers}; do not edit by hand.
#
# Columns, separated by blanks, `-` where empty:
#   name  arity  flags  acl-categories  first,last,step  key-specs  tips  group  since
# A key spec is FLAGS@BEGIN/FIND, several are joined by `;`. BEGIN is index:POS, keyword:WORD:FROM or unknown;
# FIND is range:LAST:STEP:LIMIT, keynum:COUNT:FIRST:STEP or unknown.
"""


class Server:
    """A connection that speaks RESP2, which is enough to read COMMAND."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.file = socket.create_connection((host, int(port)), timeout=10).makefile("rwb")
        info = dict(line.split(":", 1) for line in self.ask("INFO", "server").splitlines() if ":" in line)
        version = info.get("valkey_version") or info["redis_version"]
        self.name = f"{'Valkey' if 'valkey_version' in info else 'Redis'} {version}"

    def ask(self, *argv):
        frame = b"*%d\r\n" % len(argv)
        for arg in argv:
            frame += b"$%d\r\n%s\r\n" % (len(arg.encode()), arg.encode())
        self.file.write(frame)
        self.file.flush()
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.file.read(length + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise RuntimeError(f"not RESP2: {line!r}")


def pairs(flat):
    """A map, which RESP2 writes as a flat array."""
    return dict(zip(flat[::2], flat[1::2]))


def key_spec(flat):
    spec = pairs(flat)
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    b, f = pairs(begin["spec"]), pairs(find["spec"])
    begin = {
        "index": lambda: f"index:{b['index']}",
        "keyword": lambda: f"keyword:{b['keyword']}:{b['startfrom']}",
        "unknown": lambda: "unknown",
    }[begin["type"]]()
    find = {
        "range": lambda: f"range:{f['lastkey']}:{f['keystep']}:{f['limit']}",
        "keynum": lambda: f"keynum:{f['keynumidx']}:{f['firstkey']}:{f['keystep']}",
        "unknown": lambda: "unknown",
    }[find["type"]]()
    return f"{','.join(spec['flags'])}@{begin}/{find}"


def rows(server):
    """name -> columns, of every command and subcommand."""
    docs = {}

    def add_docs(flat):
        for name, doc in pairs(flat).items():
            doc = pairs(doc)
            docs[name] = (doc.get("group", "-"), doc.get("since", "-"))
            add_docs(doc.get("subcommands", []))

    add_docs(server.ask("COMMAND", "DOCS"))
    out = {}

    def add(info):
        name, arity, flags, first, last, step, acl, tips, specs, subcommands = info[:10]
        if "module" not in flags:
            group, since = docs.get(name, ("-", "-"))
            out[name] = [
                name,
                str(arity),
                ",".join(flags),
                ",".join(acl).replace("@", ""),
                f"{first},{last},{step}",
                ";".join(key_spec(s) for s in specs),
                ",".join(t.lower().replace(" ", "_") for t in tips),
                group.replace(" ", "-"),
                since,
            ]
        for subcommand in subcommands:
            add(subcommand)

    for info in server.ask("COMMAND"):
        add(info)
    return out


TRIPLE, SPECS, SINCE = 4, 5, 8


def merge(servers):
    table = {}
    for server in servers:
        for name, row in rows(server).items():
            old = table.get(name)
            if old:
                row[SINCE] = old[SINCE]
                if len(row[SPECS].split(";")) < len(old[SPECS].split(";")) or (old[SPECS] and not row[SPECS]):
                    print(f"{name}: {server.name} knows fewer keys, the older ones stay", file=sys.stderr)
                    row[SPECS], row[TRIPLE] = old[SPECS], old[TRIPLE]
                for i, (a, b) in enumerate(zip(old, row)):
                    if a != b:
                        print(f"{name}: column {i}: {a} -> {b}", file=sys.stderr)
            table[name] = row
    return table


def main():
    servers = [Server(address) for address in sys.argv[1:]]
    if not servers:
        sys.exit(__doc__)
    sys.stdout.write(HEADER.format(servers=" and ".join(s.name for s in servers)))
    for _, row in sorted(merge(servers).items()):
        print(" ".join(column or "-" for column in row))


if __name__ == "__main__":
    main()
