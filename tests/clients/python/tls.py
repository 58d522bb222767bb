"""redis-py over TLS: both protocols, what clients do, and a plain client beside it.

Prints a line for each part that went well; any failure ends it with a traceback.
"""

import os
import sys
import threading
import time

import redis

HOST, PLAIN, TLS, AUTHORITY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def connect(protocol, **options):
    return redis.Redis(
        HOST, TLS, ssl=True, ssl_ca_certs=AUTHORITY, protocol=protocol, socket_timeout=30, **options
    )


def pipelines(client, plain):
    pipe = client.pipeline(transaction=False)
    for number in range(20_000):
        pipe.set(f"p:{number}", number)
        pipe.get(f"p:{number}")
    replies = pipe.execute()
    assert replies[1::2] == [str(number).encode() for number in range(20_000)]
    assert plain.get("p:19999") == b"19999"


def large_values(client, plain):
    for size in (16_383, 16_384, 16_385, 100_000, 8_000_000):
        value = os.urandom(size)
        assert client.set("large", value)
        assert client.get("large") == value, size
        assert plain.get("large") == value, size
    pipe = client.pipeline(transaction=False)
    for _ in range(8):
        pipe.get("large")
    assert pipe.execute() == [value] * 8


def blocking(client, plain):
    assert client.blpop("nothing", 1) is None
    got = []
    waiter = threading.Thread(target=lambda: got.append(client.blpop("jobs", 30)))
    waiter.start()
    while "blpop" not in str(plain.client_list()):
        time.sleep(0.01)
    plain.rpush("jobs", "a" * 50_000)
    waiter.join()
    assert list(got[0]) == [b"jobs", b"a" * 50_000], str(got)[:100]


def transactions(client, _):
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch("{t}n")
                value = int(pipe.get("{t}n") or 0)
                pipe.multi()
                pipe.set("{t}n", value + 1)
                pipe.set("{t}m", value + 1)
                assert pipe.execute() == [True, True]
                break
            except redis.WatchError:
                pass


def messages(client, plain):
    listener = client.pubsub()
    listener.subscribe("news")
    listener.psubscribe("new*")
    assert [listener.get_message(timeout=10)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    large = "x" * 200_000
    for text in ("one", large):
        plain.publish("news", text)
        heard = sorted(listener.get_message(timeout=10)["type"] for _ in range(2))
        assert heard == ["message", "pmessage"], heard
    listener.close()


def kill(client, plain):
    other = connect(2, client_name="victim").connection_pool.get_connection()
    other.send_command("PING")
    assert other.read_response() == b"PONG"
    victim = next(one for one in plain.client_list() if one["name"] == "victim")
    assert plain.client_kill_filter(_id=victim["id"]) == 1
    try:
        other.read_response()
        raise AssertionError("still there")
    except redis.ConnectionError:
        pass


for protocol in (2, 3):
    plain = redis.Redis(HOST, PLAIN, protocol=protocol, socket_timeout=30)
    for part in (pipelines, large_values, blocking, transactions, messages, kill):
        plain.delete("jobs", "{t}n", "{t}m")
        part(connect(protocol), plain)
        print(f"{part.__name__} RESP{protocol}: ok")
