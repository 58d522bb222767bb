"""A token bucket: BLPOP takes a token, RPUSH refills. 500 clients wait, each on a connection of its own, most at one
bucket, some at either of two, which are at different shards. Each token has a number of its own, so the program can
tell where every one went."""

import asyncio
import collections
import time

from stage import Unsure, run

BUCKETS = 4
CLIENTS = 450
# Clients that take from either of two buckets that are theirs alone.
EITHER = 50
# A refill, and the pause between two of a bucket.
REFILL, PAUSE = 10, 0.06
# How often each client has to be served before the middle, and again after it.
SERVED = 2


class Tokens:
    """Where every token is."""

    def __init__(self):
        # When its refill was acknowledged, or None if nobody knows that it was.
        self.pushed = {}
        # When it was taken; more than once if a dead primary had not told its replica.
        self.taken = collections.defaultdict(list)
        self.unsure_pops = 0
        self.admissions = collections.Counter()


async def refill(stage, client, bucket, tokens):
    number = 0
    while not stage.over:
        batch = [f"{bucket}#{number + index}" for index in range(REFILL)]
        number += REFILL
        tokens.pushed.update(dict.fromkeys(batch))
        try:
            await stage.once(lambda: client.rpush(bucket, *batch))
            tokens.pushed.update(dict.fromkeys(batch, time.monotonic()))
        except Unsure:
            pass  # not pushed again: there would be more tokens than the rate allows
        await asyncio.sleep(PAUSE)


async def take(stage, client, name, buckets, tokens):
    while not stage.over:
        try:
            answer = await stage.once(lambda: client.blpop(buckets, timeout=2))
        except Unsure:
            tokens.unsure_pops += 1  # a token may be gone with it: nobody is admitted by it
            continue
        if answer:
            tokens.taken[answer[1]].append(time.monotonic())
            tokens.admissions[name] += 1


def all_served(tokens, since):
    names = range(CLIENTS + EITHER)
    return lambda: all(tokens.admissions[name] >= since[name] + SERVED for name in names)


async def play(stage, spawn):
    client = stage.connect()
    tokens = Tokens()
    buckets = stage.spread(BUCKETS + 2, "bucket")
    either = [buckets.pop(3), buckets.pop(0)]
    waiting = [spawn(take(stage, client, name, [buckets[name % BUCKETS]], tokens)) for name in range(CLIENTS)]
    waiting += [spawn(take(stage, client, CLIENTS + name, either, tokens)) for name in range(EITHER)]
    refills = [spawn(refill(stage, client, bucket, tokens)) for bucket in buckets + either]
    fair = await stage.until("each client was served", all_served(tokens, collections.Counter()))
    await stage.middle()
    since = tokens.admissions.copy()
    fair = await stage.until("each client was served again", all_served(tokens, since)) and fair
    stage.over = True
    # They end by their timeouts, and take what is left.
    hung = (await asyncio.wait(refills + waiting, timeout=20))[1]
    left = [token for bucket in buckets + either
            for token in await stage.again(lambda: client.lrange(bucket, 0, -1))]
    for task in hung:
        task.cancel()
    await client.aclose()
    report(stage, tokens, left, fair, len(hung))


def report(stage, tokens, left, fair, hung):
    acknowledged = [token for token, at in tokens.pushed.items() if at]
    admissions = sum(map(len, tokens.taken.values()))
    twice = [token for token, times in tokens.taken.items() if len(times) > 1 or token in left]
    excused = [token for token in twice if stage.may_be_forgotten(tokens.taken[token][0])]
    gone = [token for token in acknowledged if token not in tokens.taken and token not in left]
    forgotten = [token for token in gone if stage.may_be_forgotten(tokens.pushed[token])]
    strangers = [token for token in tokens.taken if token not in tokens.pushed]
    stage.did(f"{CLIENTS + EITHER} clients waited for tokens of {BUCKETS + 2} buckets")
    stage.did(f"{len(acknowledged):,} tokens pushed, {admissions:,} admissions")
    stage.check("never more admissions than tokens", admissions <= len(tokens.pushed) and not strangers,
                f"{admissions:,} <= {len(tokens.pushed):,}")
    stage.check("no token admits twice", len(twice) == len(excused), f"{len(twice)} did")
    # A token is gone if it was popped for a client whose connection was lost with the shard.
    bound = tokens.unsure_pops + len(forgotten)
    known = len(acknowledged) - len(gone)
    stage.check("pushed = taken + left + unknown", len(gone) <= bound,
                f"{len(acknowledged):,} = {known - len(left):,} + {len(left):,} + {len(gone)}")
    stage.check("nobody starves or hangs", fair and not hung,
                f"each served {min(tokens.admissions.values())} times or more")


if __name__ == "__main__":
    run("token bucket", play)
