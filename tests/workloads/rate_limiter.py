"""A fixed-window rate limiter, as services have it: INCR and EXPIRE of a counter for each user and second, in one
pipeline (redis-py makes a transaction of it). Many callers ask at once; a window never admits more than its limit.

Two rules make that so when a shard is lost. An answer that comes after its window has ended admits nobody; a window
is shorter than a failover, so a counter that the new primary may know too little of is never counted on again.
And what may have been counted is taken for counted: the caller is refused."""

import asyncio
import collections
import random
import time

from stage import Unsure, run

USERS = 20
CALLERS = 60
LIMIT = 20
# Seconds. Redis gives a primary up after `cluster-node-timeout`, which is longer in any cluster.
WINDOW = 1


class Window:
    """What callers saw of one user's second."""

    def __init__(self):
        self.asked = self.admitted = self.late = self.unsure = 0

    def is_clear(self):
        return self.asked > LIMIT and not self.late and not self.unsure


async def admit(stage, client, user, windows):
    number = int(time.time() / WINDOW)
    window = windows[user, number]
    counter = stage.key("rate", user, number)

    async def count():
        pipe = client.pipeline()
        pipe.incr(counter)
        pipe.expire(counter, 30 * WINDOW)
        return (await pipe.execute())[0]

    window.asked += 1
    try:
        place = await stage.once(count)
    except Unsure:
        window.unsure += 1
        return
    if int(time.time() / WINDOW) != number:
        window.late += 1
    elif place <= LIMIT:
        window.admitted += 1


async def call(stage, client, windows):
    while not stage.over:
        await admit(stage, client, random.randrange(USERS), windows)
        await asyncio.sleep(random.uniform(0.02, 0.06))


async def play(stage, spawn):
    client = stage.connect()
    windows = collections.defaultdict(Window)
    callers = [spawn(call(stage, client, windows)) for _ in range(CALLERS)]
    await asyncio.sleep(2)
    await stage.middle()
    since = int(time.time() / WINDOW) + 1

    def all_users_are_limited():
        limited = {user for (user, number), window in list(windows.items())
                   if since <= number < int(time.time() / WINDOW) and window.is_clear()}
        return len(limited) == USERS

    recovered = await stage.until("each user had a clear window again", all_users_are_limited)
    stage.over = True
    await asyncio.gather(*callers)
    most = max(window.admitted for window in windows.values())
    clear = [window for window in windows.values() if window.is_clear()]
    # The last one may end after the program.
    counters = [stage.key("rate", *names) for names in windows]
    pipe = client.pipeline(transaction=False)
    for counter in counters:
        pipe.ttl(counter)
    for_ever = (await stage.again(pipe.execute)).count(-1)
    await client.aclose()
    asked = sum(window.asked for window in windows.values())
    admitted = sum(window.admitted for window in windows.values())
    stage.did(f"{CALLERS} callers asked {asked:,} times for {USERS} users")
    stage.did(f"{admitted:,} admitted in {len(windows)} windows of {WINDOW} s")
    stage.check("a window admits at most its limit", most <= LIMIT, f"{most} <= {LIMIT}")
    exact = sum(window.admitted == LIMIT for window in clear)
    stage.check("and all of it where no answer was late", exact == len(clear), f"{exact} of {len(clear)} windows")
    stage.check("each counter ends by itself", for_ever == 0, f"{for_ever} stay")
    stage.check("every user is served and limited again", recovered, f"{USERS} users")


if __name__ == "__main__":
    run("rate limiter", play)
