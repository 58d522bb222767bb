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
    watch_loops(client, protocol, f"{name}:n")
    transaction_helper(client, f"{name}:t")
    blocking(client, protocol, f"{name}:l")
    client.close()
    print(f"redis-py {redis.__version__} transactions RESP{protocol}: ok")
