"""A pull-model queue of inference requests: producers XADD, workers XREADGROUP BLOCK when they have room, write the
result and XACK; XAUTOCLAIM takes over what a worker left that died. Two streams have workers of their own; others pull
from all three, which are at different shards, and nobody else serves the third.

Every request is done, though a killed primary may forget entries that it had acknowledged: the producer sends again,
under the same request id, whatever has no result in time, and a result is the same however often it is written."""

import asyncio
import collections
import hashlib
import time

from redis import exceptions
from stage import Unsure, run

STREAMS = 3
WORKERS = 6
GROUP = "workers"
# A producer's pause between two requests, and after how long without a result it sends one again.
PAUSE, RESEND = 0.02, 3
# Milliseconds after which a worker's entry is taken over.
IDLE = 1500


def infer(prompt):
    return hashlib.sha256(prompt.encode()).hexdigest()


class Requests:
    def __init__(self):
        self.done = set()
        self.wrong = 0
        self.sent = self.sent_again = self.claimed = 0
        self.runs = collections.Counter()
        self.deaths = 0

    def asked(self):
        return self.sent - self.sent_again

    def all_done(self):
        return len(self.done) == self.asked()


async def produce(stage, client, stream, requests):
    """Sends requests, and waits for their results, until all have one."""
    mine = {}
    number = 0
    while not stage.over or mine:
        now = time.monotonic()
        if not stage.over:
            mine[f"{stream}/{number}"] = 0
            number += 1
        due = [request for request, sent in mine.items() if now - sent > RESEND]
        for request in due:
            requests.sent += 1
            requests.sent_again += mine[request] > 0
            mine[request] = now
            try:
                await stage.once(lambda: client.xadd(stream, {"id": request, "prompt": f"prompt of {request}"}))
            except Unsure:
                pass  # it is due again if nobody works on it
        await collect(stage, client, mine, requests)
        await asyncio.sleep(PAUSE)


async def collect(stage, client, mine, requests):
    asked = list(mine)
    results = await stage.again(lambda: client.mget([stage.key("result", request) for request in asked]))
    for request, result in zip(asked, results):
        if result is not None:
            del mine[request]
            requests.done.add(request)
            requests.wrong += result != infer(f"prompt of {request}")


async def work(stage, client, name, streams, requests, dies_at=None):
    """Pulls until the end, or dies with what it has just pulled."""
    while not (stage.over and requests.all_done()):
        try:
            pulled = await stage.once(lambda: client.xreadgroup(
                GROUP, name, dict.fromkeys(streams, ">"), count=8, block=500))
        except Unsure:
            continue  # what was delivered waits for XAUTOCLAIM
        entries = [(stream, entry) for stream, some in answered(pulled) for entry in some]
        if dies_at and requests.runs.total() >= dies_at and entries:
            requests.deaths += 1
            return
        for stream, (entry, fields) in entries:
            await serve(stage, client, stream, entry, fields, requests)


async def serve(stage, client, stream, entry, fields, requests):
    requests.runs[fields["id"]] += 1
    result = infer(fields["prompt"])
    await stage.again(lambda: client.set(stage.key("result", fields["id"]), result, ex=600))
    await stage.again(lambda: client.xack(stream, GROUP, entry))


def answered(reply):
    """(stream, entries) of XREADGROUP, which RESP2 gives as a list and RESP3 as a map."""
    pairs = reply.items() if isinstance(reply, dict) else reply or []
    # RESP3 wraps the entries once more in some versions of redis-py.
    return [(stream, some[0] if some and isinstance(some[0], list) else some) for stream, some in pairs]


async def take_over(stage, client, streams, requests):
    """Serves what dead workers left, until nothing is pending; how much that is at the end."""
    while True:
        pending = 0
        for stream in streams:
            try:
                _, entries, *_ = await stage.again(
                    lambda: client.xautoclaim(stream, GROUP, "heir", min_idle_time=IDLE, count=50))
            except Unsure:
                continue
            for entry, fields in entries:
                requests.claimed += 1
                await serve(stage, client, stream, entry, fields, requests)
            pending += (await stage.again(lambda: client.xpending(stream, GROUP)))["pending"]
        if stage.over and not pending and requests.all_done():
            return
        await asyncio.sleep(0.2)


async def play(stage, spawn):
    client = stage.connect()
    requests = Requests()
    streams = stage.spread(STREAMS, "jobs")
    for stream in streams:
        await create_group(stage, client, stream)
    producers = [spawn(produce(stage, client, stream, requests)) for stream in streams]
    pulled = [streams[:1], streams[:1], streams[1:2], streams[1:2], streams, streams]
    workers = [spawn(work(stage, client, f"worker-{index}", pulled[index], requests)) for index in range(WORKERS)]
    workers += [spawn(work(stage, client, "mortal", streams[:1], requests, dies_at=30))]
    heir = spawn(take_over(stage, client, streams, requests))
    died = await stage.until("a worker died", lambda: requests.deaths > 0)
    await asyncio.sleep(1)
    await stage.middle()
    await asyncio.sleep(1)
    stage.over = True
    late = (await asyncio.wait(producers, timeout=20))[1]
    ended = (await asyncio.wait([heir, *workers], timeout=20))[0] if not late else []
    for task in [*producers, heir, *workers]:
        task.cancel()
    await client.aclose()
    asked = requests.asked()
    again = requests.runs.total() - len(requests.runs)
    stage.did(f"{asked:,} requests, {requests.sent_again} sent again, over {STREAMS} streams")
    stage.did(f"{WORKERS} workers, one more died; {requests.claimed} entries taken over")
    stage.check("every request is done, none lost", not late and requests.all_done(),
                f"{len(requests.done):,} of {asked:,}")
    stage.check("each has its own result", not requests.wrong, f"{requests.wrong} wrong, {again} run again")
    stage.check("a dead worker's entries are taken over", died and requests.claimed > 0,
                f"{requests.claimed} entries")
    stage.check("nothing is left pending, all end", len(ended) == len(workers) + 1, f"{len(ended)} ended")


async def create_group(stage, client, stream):
    try:
        await stage.again(lambda: client.xgroup_create(stream, GROUP, id="0", mkstream=True))
    except exceptions.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


if __name__ == "__main__":
    run("inference queue", play)
