"""redis-py's transactions, WATCH loops and blocking commands through the proxy. Needs SLOTWAY_ADDR (host:port)."""

import os
import threading
import uuid

import redis

HOST, PORT = os.environ["SLOTWAY_ADDR"].rsplit(":", 1)


def connect(protocol):
    return redis.Redis(host=HOST, port=int(PORT), protocol=protocol, decode_responses=True)


def pipelines(client, name):
    tag = "{" + name + "}"
    pipe = client.pipeline(transaction=True)
    pipe.set(f"{tag}a", 1).incr(f"{tag}a").rpush(f"{tag}l", "x", "y").get(f"{tag}a")
    assert pipe.execute() == [True, 2, 2, "2"]
    pipe = client.pipeline(transaction=True)
    pipe.set(f"{tag}text", "text").incr(f"{tag}text").get(f"{tag}text")
    first, error, last = pipe.execute(raise_on_error=False)
    assert first and isinstance(error, redis.ResponseError) and last == "text"


def many_slots(client, name):
    """What redis-py wraps in MULTI by default, with keys of as many slots as there are keys."""
    for transaction in (True, False):
        pipe = client.pipeline(transaction=transaction)
        for number in range(100):
            pipe.set(f"{name}:{number}", number)
            pipe.hset(f"{name}:h:{number}", mapping={"n": number})
        pipe.mset({f"{name}:{number}": number for number in range(100)})
        pipe.mget([f"{name}:{number}" for number in range(100)])
        for number in range(100):
            pipe.hgetall(f"{name}:h:{number}")
        pipe.lpush(f"{name}:0", "wrong type")
        pipe.delete(*[f"{name}:h:{number}" for number in range(100)])
        replies = pipe.execute(raise_on_error=False)
        assert replies[0:200:2] == [True] * 100 and replies[200] is True
        assert replies[201] == [str(number) for number in range(100)]
        assert replies[202:302] == [{"n": str(number)} for number in range(100)]
        assert isinstance(replies[302], redis.ResponseError) and replies[303] == 100


def many_watched(client, protocol, name):
    """The helper over keys of several slots: each of them guards all."""
    keys = [f"{name}:{number}" for number in range(5)]
    client.mset({key: 1 for key in keys})
    tries = 0

    def move(pipe):
        nonlocal tries
        tries += 1
        values = [int(pipe.get(key)) for key in keys]
        if tries == 1:
            connect(protocol).set(keys[3], 10)
        pipe.multi()
        for key, value in zip(keys, values):
            pipe.set(key, value + 1)

    assert client.transaction(move, *keys) == [True] * 5
    assert tries == 2 and client.mget(keys) == ["2", "2", "2", "11", "2"]


def watch_loop(protocol, name, times):
    """Counts as redis-py's manual does: without INCR, by WATCH alone."""
    client = connect(protocol)
    with client.pipeline() as pipe:
        for _ in range(times):
            while True:
                try:
                    pipe.watch(name)
                    count = int(pipe.get(name) or 0)
                    pipe.multi()
                    pipe.set(name, count + 1)
                    pipe.execute()
                    break
                except redis.WatchError:
                    continue
    client.close()


def watch_loops(client, protocol, name):
    threads = [threading.Thread(target=watch_loop, args=(protocol, name, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get(name) == "200", client.get(name)


def transaction_helper(client, name):
    def double(pipe):
        value = int(pipe.get(name))
        pipe.multi()
        pipe.set(name, value * 2)

    client.set(name, 21)
    client.transaction(double, name)
    assert client.get(name) == "42"


def blocking(client, protocol, name):
    assert client.blpop([name], timeout=0.1) is None
    pusher = threading.Timer(0.2, lambda: connect(protocol).rpush(name, "x"))
    pusher.start()
    assert tuple(client.blpop([name], timeout=5)) == (name, "x")
    pusher.join()
    with client.lock(f"{name}:lock", timeout=5, blocking_timeout=1):
        assert client.lock(f"{name}:lock", timeout=5).acquire(blocking=False) is False


for protocol in (2, 3):
    client = connect(protocol)
    name = f"py:{uuid.uuid4()}"
    pipelines(client, name)
    many_slots(client, f"{name}:many")
    many_watched(client, protocol, f"{name}:watched")
    watch_loops(client, protocol, f"{name}:n")
    transaction_helper(client, f"{name}:t")
    blocking(client, protocol, f"{name}:l")
    client.close()
    print(f"redis-py {redis.__version__} transactions RESP{protocol}: ok")
