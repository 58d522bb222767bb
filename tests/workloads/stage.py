"""What the workloads share: the connection, what a careful application does about errors, the middle in which a
shard is lost, and the table."""

import argparse
import asyncio
import binascii
import collections
import faulthandler
import itertools
import sys
import time
import uuid

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# How long an application goes on with a command that did not run, and how long a program may take.
PATIENCE = 30
LIMIT = 120

# Errors that prove that a command did not run: it may be sent again, whatever it is.
NOT_RUN = (
    exceptions.ClusterDownError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.MasterDownError,
    exceptions.ExecAbortError,
)
NOT_RUN_TEXTS = ("did not run", "no private connection is free", "force unblock")


class Unsure(Exception):
    """Nobody knows whether the command ran."""


def did_not_run(error):
    return isinstance(error, NOT_RUN) or any(text in str(error) for text in NOT_RUN_TEXTS)


def may_have_run(error):
    return isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError)) or "may have run" in str(error)


def slot(key):
    return binascii.crc_hqx(key.encode(), 0) % 16384


class Stage:
    """One program's run: where it plays, what it met, what it found."""

    def __init__(self, name, url, loses):
        self.name = name
        self.url = url
        self.loses = loses
        # Own keys, so that a run never meets what an earlier one left.
        self.prefix = uuid.uuid4().hex[:8]
        self.errors = collections.Counter()
        self.done = []
        self.rows = []
        self.ready = self.lost = None
        self.over = False

    def connect(self, decode=True, **settings):
        """A client with redis-py's defaults (RESP3, a pool), but that it sends nothing again by itself: redis-py would,
        up to ten times, also what has run. And it waits longer for an answer than the proxy does (5 s), whose words
        say whether the command ran."""
        chosen = {"socket_timeout": 15, "retry": Retry(NoBackoff(), 0), "max_connections": 1000, **settings}
        return redis.Redis.from_url(self.url, decode_responses=decode, **chosen)

    def key(self, *parts):
        return ":".join(map(str, (self.prefix, *parts)))

    def spread(self, count, name):
        """Keys of `name` whose slots are spread evenly, so that every shard has some: for few keys, whose shards chance
        would choose."""
        share = 16384 / count
        every = (self.key(name, number) for number in itertools.count())
        return [next(key for key in every if index <= slot(key) / share < index + 1) for index in range(count)]

    async def once(self, call):
        """What `call()` gives; for commands that must not run twice. Sent again only if it did not run."""
        return await self._insist(call, did_not_run)

    async def again(self, call):
        """What `call()` gives; for commands that may run twice without harm. Sent again until it is answered."""
        return await self._insist(call, lambda error: did_not_run(error) or may_have_run(error))

    async def _insist(self, call, may_be_sent_again):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await call()
            except exceptions.RedisError as error:
                if not (did_not_run(error) or may_have_run(error)):
                    raise  # an answer of another kind is a defect, of the program or of what it speaks to
                if asyncio.current_task().cancelling():
                    raise asyncio.CancelledError from error  # redis-py may make an error of it
                self.errors["did not run" if did_not_run(error) else "may have run"] += 1
                if may_be_sent_again(error) and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                    continue
                raise Unsure(str(error)) from error

    async def middle(self):
        """Half of the work is done. With `--lose-a-shard` whoever started the program is told so, kills a primary, says
        so on standard input ("lost"), and says when a replica has taken over ("replaced"). Work goes on meanwhile."""
        if not self.loses:
            return await asyncio.sleep(1)
        self.ready = time.monotonic()
        print("ready to lose a shard", flush=True)
        await self._told("lost")
        self.lost = time.monotonic()
        await self._told("replaced")

    async def _told(self, word):
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        assert line.strip() == word, f"{word} was awaited, not {line!r}"

    def may_be_forgotten(self, acknowledged):
        """Whether what was acknowledged at this time may be unknown to the replica that took over. Replication is
        asynchronous: a primary answers, and is killed before it has passed the write on. Half a second before and one
        second behind, since this program hears of both late on a busy machine."""
        return self.lost is not None and self.ready - 0.5 <= acknowledged <= self.lost + 1

    async def until(self, what, condition, within=PATIENCE):
        """Waits until `condition()`; whether it came."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                print(f"{self.name}: waited in vain until {what}", file=sys.stderr)
                return False
            await asyncio.sleep(0.05)
        return True

    def did(self, text):
        self.done.append(text)

    def check(self, invariant, held, result):
        """A row: what has to hold, whether it does, and the numbers."""
        self.rows.append((invariant, result, "ok" if held else "BROKEN"))
        return held

    def table(self):
        done = list(self.done)
        if self.loses:
            told = ", ".join(f"{count} said it {what}" for what, count in sorted(self.errors.items()))
            done.append(f"a shard was lost: {told or 'no command failed'}")
        lines = [("workload", "what was done", "invariant", "result", "")]
        for index in range(max(len(done), len(self.rows))):
            row = self.rows[index] if index < len(self.rows) else ("", "", "")
            lines.append((self.name if index == 0 else "", done[index] if index < len(done) else "", *row))
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        rule = "  ".join("-" * width for width in widths)
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        return "\n".join([text[0], rule, *text[1:]])

    def held(self):
        return bool(self.rows) and all(row[2] == "ok" for row in self.rows)


def run(name, play):
    """Plays on what the command line names; ends the process with 1 if an invariant was broken."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("url", help="redis://host:port of the proxy")
    parser.add_argument("--lose-a-shard", action="store_true", help="see tests/workloads/README.md")
    args = parser.parse_args()
    stage = Stage(name, args.url, args.lose_a_shard)

    async def whole():
        async with asyncio.TaskGroup() as group:
            try:
                await play(stage, group.create_task)
            finally:
                stage.over = True

    faulthandler.dump_traceback_later(LIMIT, exit=True)
    asyncio.run(whole())
    print(stage.table(), flush=True)
    sys.exit(0 if stage.held() else 1)
