"""redis-py's registered scripts and locks. `before` a restart of the server they are loaded; `behind` it they
are called by name only, by clients that believe the server to have them."""

import os
import sys

import redis
from redis.lock import Lock

host, port = os.environ["SLOTWAY_ADDR"].rsplit(":", 1)
part = sys.argv[1]

for protocol in (2, 3):
    client = redis.Redis(host=host, port=int(port), protocol=protocol)
    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    client.delete("counter")
    if part == "before":
        assert script(keys=["counter"], args=[5]) == 5
    else:
        # As a client that has loaded it before, and never again.
        assert client.evalsha(script.sha, 1, "counter", 5) == 5
    for transaction in (True, False):
        with client.pipeline(transaction=transaction) as pipe:
            script(keys=["counter"], args=[1], client=pipe)
            pipe.get("counter")
            script(keys=["counter"], args=[1], client=pipe)
            first, value, second = pipe.execute()
        assert (first, int(value)) == (second - 1, first), (first, value, second)
    with client.lock("lock", timeout=5) as lock:
        assert lock.owned() and lock.extend(5) and lock.reacquire()
        assert not client.lock("lock", timeout=5).acquire(blocking=False)
    if part == "behind":
        lock = client.lock("lock", timeout=5)
        assert lock.acquire(blocking=False)
        # What release() does where NOSCRIPT is not expected: by the name alone.
        assert client.evalsha(Lock.lua_release.sha, 1, "lock", lock.local.token) == 1
    print(f"resp{protocol} {part}: ok")
