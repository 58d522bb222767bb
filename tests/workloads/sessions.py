"""Sessions and profiles: a hash each, the recent ones in a zset, and batches of them read over all shards, by MGET, by a
plain pipeline and by redis-py's usual one, which it wraps in MULTI. A user's keys share a hash tag, so that what is
written for one user is one transaction.

Each user is written by one task and read by many. A version counts the writes: a read must never find an older one
than was acknowledged before it was asked, nor one that was not yet written."""

import asyncio
import random
import time

from stage import run

USERS = 240
WRITERS = 8
READERS = 4
BATCH = 40


class User:
    def __init__(self, stage, number):
        self.number = number
        tag = "{" + stage.key("user", number) + "}"
        self.session, self.profile, self.recent, self.version_key = (
            f"{tag}:{part}" for part in ("session", "profile", "recent", "version"))
        # The newest version that was sent, and that was acknowledged, and when that was.
        self.sent = self.acknowledged = 0
        self.at = 0.0


class Found:
    def __init__(self):
        self.read = self.strangers = self.torn = self.unknown = 0
        self.older = []
        self.batches = dict.fromkeys(("MGET", "pipeline", "MULTI"), 0)


async def write(stage, client, user):
    """A visit: everything of the user at once. Writing the same version twice changes nothing."""
    user.sent += 1
    version = user.sent

    async def visit():
        pipe = client.pipeline()
        pipe.hset(user.session, mapping={"user": user.number, "version": version, "cart": "x" * random.randint(0, 200)})
        pipe.expire(user.session, 600)
        pipe.hset(user.profile, mapping={"user": user.number, "version": version})
        pipe.zadd(user.recent, {f"page-{version % 10}": version})
        pipe.zremrangebyrank(user.recent, 0, -6)
        pipe.set(user.version_key, f"{user.number} {version}", ex=600)
        await pipe.execute()

    await stage.again(visit)
    user.acknowledged, user.at = version, time.monotonic()


async def writer(stage, client, users):
    while not stage.over:
        await write(stage, client, random.choice(users))
        await asyncio.sleep(0.005)


def judge(stage, found, user, owner, version, known):
    """What a read says of `user`, of which version `known[0]` was acknowledged at `known[1]` when it was asked."""
    found.read += 1
    if int(owner) != user.number:
        found.strangers += 1
    if int(version) > user.sent:
        found.unknown += 1
    if int(version) < known[0] and not stage.may_be_forgotten(known[1]):
        found.older.append((user.number, version, known))


async def read_versions(stage, client, users, known, found):
    replies = await stage.again(lambda: client.mget([user.version_key for user in users]))
    for user, reply, knew in zip(users, replies, known):
        judge(stage, found, user, *(reply or f"{user.number} 0").split(), knew)


async def read_hashes(stage, client, users, known, found, transaction):
    async def ask():
        pipe = client.pipeline(transaction=transaction)
        for user in users:
            pipe.hgetall(user.session)
            pipe.hgetall(user.profile)
            pipe.zrange(user.recent, 0, -1, withscores=True)
        return await pipe.execute()

    replies = await stage.again(ask)
    for index, (user, knew) in enumerate(zip(users, known)):
        session, profile, recent = replies[3 * index:3 * index + 3]
        for value in (session, profile):
            judge(stage, found, user, value.get("user", user.number), value.get("version", 0), knew)
        newest = max((score for _, score in map(tuple, recent)), default=0)
        # A user's writes are one transaction, and so is a read of them that redis-py wraps in MULTI.
        if transaction and not session.get("version", "0") == profile.get("version", "0") == str(int(newest)):
            found.torn += 1


async def reader(stage, client, users, found):
    while not stage.over:
        for kind in found.batches:
            some = random.sample(users, BATCH)
            known = [(user.acknowledged, user.at) for user in some]
            if kind == "MGET":
                await read_versions(stage, client, some, known, found)
            else:
                await read_hashes(stage, client, some, known, found, transaction=kind == "MULTI")
            found.batches[kind] += 1
        await asyncio.sleep(0.02)


async def play(stage, spawn):
    client = stage.connect()
    users = [User(stage, number) for number in range(USERS)]
    found = Found()
    await asyncio.gather(*(write(stage, client, user) for user in users))
    tasks = [spawn(writer(stage, client, users[index::WRITERS])) for index in range(WRITERS)]
    tasks += [spawn(reader(stage, client, users, found)) for _ in range(READERS)]
    await asyncio.sleep(1)
    await stage.middle()
    await asyncio.sleep(1)
    stage.over = True
    await asyncio.gather(*tasks)
    # Everybody comes once more; then nothing is excused.
    await asyncio.gather(*(write(stage, client, user) for user in users))
    last = Found()
    known = [(user.acknowledged, user.at) for user in users]
    stage.lost = None
    await read_versions(stage, client, users, known, last)
    await read_hashes(stage, client, users, known, last, transaction=False)
    await client.aclose()
    stage.did(f"{sum(user.sent for user in users):,} visits of {USERS} users, a transaction each")
    stage.did(f"batches of {BATCH} users: " + ", ".join(f"{count} by {kind}" for kind, count in found.batches.items()))
    stage.check("each value is of the user asked for", not found.strangers + last.strangers, f"{found.read:,} values read")
    stage.check("none older than acknowledged", not found.older, f"{len(found.older)} older")
    stage.check("none newer than written", not found.unknown, f"{found.unknown} newer")
    stage.check("a user's values are of one moment", not found.torn, f"{found.torn} torn")
    held = not last.older and last.read == 3 * USERS
    stage.check("in the end each has its last visit", held, f"{USERS - len(last.older)} of {USERS} users")


if __name__ == "__main__":
    run("sessions", play)
