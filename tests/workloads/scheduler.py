"""A scheduler that estimates what a request costs, and keeps the load of each model server (a zset) and which of them
has a prompt's prefix in its cache (a hash). One Lua script places a request, one releases it; register_script calls
them by EVALSHA and loads them where a server says NOSCRIPT.

A lease for each request makes both safe to send again: placing what is placed gives the same server, releasing what
is released gives 0."""

import asyncio
import collections
import random
import time

from stage import run

FLEETS = 4
SERVERS = 5
CALLERS = 8
CAPACITY = 40

PLACE = """
local load, affinity, leases = KEYS[1], KEYS[2], KEYS[3]
local request, prefix, cost, capacity = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = redis.call('HGET', leases, request)
if lease then return {string.match(lease, '^(.-) '), 'leased', 0} end
local server, why = redis.call('HGET', affinity, prefix), 'affinity'
local busy = server and tonumber(redis.call('ZSCORE', load, server)) or 0
if not server or busy + cost > capacity then
    why = server and 'moved' or 'new'
    server = redis.call('ZRANGE', load, 0, 0)[1]
    redis.call('HSET', affinity, prefix, server)
end
redis.call('ZINCRBY', load, cost, server)
redis.call('HSET', leases, request, server .. ' ' .. cost)
return {server, why, busy}
"""

RELEASE = """
local load, leases, request = KEYS[1], KEYS[2], ARGV[1]
local lease = redis.call('HGET', leases, request)
if not lease then return 0 end
local server, cost = string.match(lease, '^(.-) (.+)$')
redis.call('HDEL', leases, request)
redis.call('ZINCRBY', load, -tonumber(cost), server)
return 1
"""


class Fleet:
    """One fleet's keys, all in one slot, and what its callers saw."""

    def __init__(self, name):
        self.load, self.affinity, self.leases = (f"{{{name}}}:{part}" for part in ("load", "affinity", "leases"))
        self.running = set()
        # When each request was placed and released, as far as it was acknowledged.
        self.placed, self.released = {}, {}
        self.releases = collections.Counter()
        self.whys = collections.Counter()
        self.astray = 0
        self.sums = 0
        self.wrong_sums = []


async def request(stage, scripts, fleet, name, prefix, home):
    """Places, runs and releases one request; gives the server that has the prefix now."""
    place, release = scripts
    cost = random.randint(1, 30)
    fleet.running.add(name)
    server, why, busy = await stage.again(
        lambda: place(keys=[fleet.load, fleet.affinity, fleet.leases], args=[name, prefix, cost, CAPACITY]))
    fleet.placed[name] = time.monotonic()
    fleet.whys[why] += 1
    # A caller's prefix is its own, so it knows where the prefix has to be.
    strayed = why == "affinity" and server != home[0] or why == "moved" and busy + cost <= CAPACITY
    if strayed and not stage.may_be_forgotten(home[1]):
        fleet.astray += 1
    await asyncio.sleep(random.uniform(0.002, 0.02))

    def give_back():
        return stage.again(lambda: release(keys=[fleet.load, fleet.leases], args=[name]))

    # Two at once, as when a timeout's release meets the request's own.
    fleet.releases[name] += sum(await asyncio.gather(give_back(), give_back()))
    fleet.released[name] = time.monotonic()
    fleet.running.discard(name)
    return server, time.monotonic()


async def call(stage, scripts, fleet, caller):
    homes = {}
    number = 0
    while not stage.over:
        prefix = f"{caller}/{random.randrange(4)}"
        home = homes.get(prefix, (None, 0))
        homes[prefix] = await request(stage, scripts, fleet, f"{caller}/{number}", prefix, home)
        number += 1


async def sums(client, fleet):
    """Each server's load beside the sum of its leases, seen at one moment."""
    pipe = client.pipeline()
    pipe.zrange(fleet.load, 0, -1, withscores=True)
    pipe.hvals(fleet.leases)
    loads, leases = await pipe.execute()
    summed = dict.fromkeys((server for server, _ in loads), 0)
    for lease in leases:
        server, cost = lease.split(" ")
        summed[server] += int(cost)
    return dict(map(tuple, loads)), summed


async def audit(stage, client, fleets):
    while not stage.over:
        for fleet in fleets:
            loads, summed = await stage.again(lambda: sums(client, fleet))
            fleet.sums += 1
            if loads != summed:
                fleet.wrong_sums.append((loads, summed))
        await asyncio.sleep(0.05)


async def reconcile(stage, client, scripts, fleet):
    """What a scheduler does about leases of requests that have ended: a primary that was killed may have forgotten a
    release that it had acknowledged. How many there were that nothing excuses."""
    unexcused = 0
    for name in await stage.again(lambda: client.hkeys(fleet.leases)):
        if name not in fleet.running:
            unexcused += not stage.may_be_forgotten(fleet.released[name])
            await stage.again(lambda: scripts[1](keys=[fleet.load, fleet.leases], args=[name]))
    return unexcused


async def play(stage, spawn):
    client = stage.connect()
    scripts = client.register_script(PLACE), client.register_script(RELEASE)
    fleets = [Fleet(name) for name in stage.spread(FLEETS, "fleet")]
    for fleet in fleets:
        idle = {f"server-{index}": 0 for index in range(SERVERS)}
        await stage.again(lambda: client.zadd(fleet.load, idle))
    callers = [spawn(call(stage, scripts, fleet, caller)) for fleet in fleets for caller in range(CALLERS)]
    auditor = spawn(audit(stage, client, fleets))
    await asyncio.sleep(1)
    await stage.again(client.script_flush)  # as a restart does: every server says NOSCRIPT now
    await asyncio.sleep(0.5)
    await stage.middle()
    before = {fleet: len(fleet.placed) for fleet in fleets}
    recovered = await stage.until("each fleet places again", lambda: all(
        len(fleet.placed) >= before[fleet] + CALLERS for fleet in fleets))
    stage.over = True
    await asyncio.gather(auditor, *callers)
    unexcused = sum([await reconcile(stage, client, scripts, fleet) for fleet in fleets])
    ends = [await stage.again(lambda: sums(client, fleet)) for fleet in fleets]
    await client.aclose()
    report(stage, fleets, ends, unexcused, recovered)


def report(stage, fleets, ends, unexcused, recovered):
    whys = sum((fleet.whys for fleet in fleets), collections.Counter())
    times = [(fleet, name, count) for fleet in fleets for name, count in fleet.releases.items()]
    placed = sum(len(fleet.placed) for fleet in fleets)
    # More than once only where a release was forgotten; never only where its answer, or its lease, was lost.
    twice = sum(count > 1 and not stage.may_be_forgotten(fleet.released[name]) for fleet, name, count in times)
    never = sum(count < 1 for _, _, count in times)
    excusable = stage.errors["may have run"] + sum(
        stage.may_be_forgotten(fleet.placed[name]) for fleet, name, count in times if count < 1)
    checked = sum(fleet.sums for fleet in fleets)
    wrong = sum(len(fleet.wrong_sums) for fleet in fleets)
    idle = sum(load for loads, _ in ends for load in loads.values())
    stage.did(f"{placed:,} requests placed on {FLEETS} fleets of {SERVERS} servers")
    stage.did("scripts flushed once, every request released twice at once")
    stage.check("loads are the sums of the leases", not wrong and all(loads == summed for loads, summed in ends),
                f"{checked - wrong} of {checked} times")
    stage.check("no release counts twice", not twice and never <= excusable, f"{placed - never:,} once, {twice} twice")
    stage.check("all released: no load is left", idle == 0 and not unexcused, f"{idle:.0f} left")
    stage.check("affinity is kept while there is room", not sum(fleet.astray for fleet in fleets),
                f"{whys['affinity']:,} kept, {whys['moved']:,} moved as full")
    stage.check("every fleet goes on", recovered, f"{FLEETS} fleets")


if __name__ == "__main__":
    run("scheduler", play)
