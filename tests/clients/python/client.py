"""redis-py through the proxy: redis.Redis and RedisCluster, RESP2 and RESP3. Needs SLOTWAY_ADDR (host:port)."""

import os
import time
import uuid

import redis
from redis.cluster import RedisCluster

HOST, PORT = os.environ["SLOTWAY_ADDR"].rsplit(":", 1)


def connect(kind, protocol, **more):
    """With the client's own default where no protocol is named."""
    named = {} if protocol is None else {"protocol": protocol}
    return kind(host=HOST, port=int(PORT), **named, **more)


def values(client, name):
    assert client.set(f"{name}:s", "v", ex=100)
    assert client.get(f"{name}:s") == "v"
    assert 0 < client.ttl(f"{name}:s") <= 100
    assert client.incrby(f"{name}:n", 5) == 5
    assert client.hset(f"{name}:h", mapping={"a": "1", "b": "2"}) == 2
    assert client.hgetall(f"{name}:h") == {"a": "1", "b": "2"}
    assert client.rpush(f"{name}:l", "x", "y", "z") == 3
    assert client.lrange(f"{name}:l", 0, -1) == ["x", "y", "z"]
    assert client.sadd(f"{name}:set", "a", "b") == 2
    assert set(client.smembers(f"{name}:set")) == {"a", "b"}
    assert client.zadd(f"{name}:z", {"a": 1, "b": 2.5}) == 2
    pairs = client.zrange(f"{name}:z", 0, -1, withscores=True)
    assert [tuple(pair) for pair in pairs] == [("a", 1.0), ("b", 2.5)], pairs
    assert client.zscore(f"{name}:z", "b") == 2.5


def many_keys(client, name):
    keys = {f"{name}:many:{number}": str(number) for number in range(200)}
    # RedisCluster's own mset wants one slot; what it splits itself has another name.
    write = client.mset_nonatomic if isinstance(client, RedisCluster) else client.mset
    read = client.mget_nonatomic if isinstance(client, RedisCluster) else client.mget
    write(keys)
    assert read(list(keys)) == list(keys.values())
    assert client.exists(*keys) == 200
    assert client.touch(*keys) == 200
    found = set(client.scan_iter(match=f"{name}:many:*", count=17))
    assert found == set(keys), (len(found), len(keys))
    assert set(client.keys(f"{name}:many:*")) == set(keys)
    assert client.delete(*list(keys)[:100]) == 100
    assert client.unlink(*list(keys)[100:]) == 100


def subscriptions(client, name):
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(f"{name}:channel")
    pubsub.psubscribe(f"{name}:p*")
    pubsub.ssubscribe(f"{name}:shard")
    # Its confirmations are not shown, but waited for.
    deadline = time.monotonic() + 20
    while client.pubsub_shardnumsub(f"{name}:shard")[0][1] < 1:
        assert time.monotonic() < deadline
        pubsub.get_message(timeout=0.01)
    published = [(f"{name}:channel", "one"), (f"{name}:pattern", "two"), (f"{name}:shard", "three")]
    got = []
    deadline = time.monotonic() + 20
    for channel, text in published:
        publish = client.spublish if channel.endswith("shard") else client.publish
        publish(channel, text)
        message = None
        while message is None:
            assert time.monotonic() < deadline, got
            message = pubsub.get_message(timeout=0.1)
        got.append((message["channel"], message["data"]))
    assert got == published, got
    pubsub.unsubscribe()
    pubsub.punsubscribe()
    pubsub.sunsubscribe()
    pubsub.close()


def pipelines(client, name):
    pipe = client.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(f"{name}:p:{number}", number)
        pipe.get(f"{name}:p:{number}")
    replies = pipe.execute()
    assert replies[1::2] == [str(number) for number in range(1000)]
    pipe = client.pipeline(transaction=False)
    pipe.set(f"{name}:wrong", "text")
    pipe.incr(f"{name}:wrong")
    pipe.get(f"{name}:wrong")
    first, error, last = pipe.execute(raise_on_error=False)
    assert first and isinstance(error, redis.ResponseError) and last == "text"


def streams(client, name):
    key = f"{name}:stream"
    ids = [client.xadd(key, {"job": number}) for number in range(10)]
    assert client.xlen(key) == 10
    assert client.xgroup_create(key, "workers", id="0")
    reply = client.xreadgroup("workers", "one", {key: ">"}, count=3)
    entries = reply[key] if isinstance(reply, dict) else reply[0][1]
    # RESP3 wraps each stream's entries once more in some versions.
    entries = entries[0] if entries and isinstance(entries[0], list) else entries
    assert [entry[0] for entry in entries] == ids[:3], reply
    assert client.xack(key, "workers", *ids[:3]) == 3
    assert client.xpending(key, "workers")["pending"] == 0
    assert len(client.xrange(key, "-", "+")) == 10


def scripts(client, name):
    script = client.register_script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    for number in range(20):
        key = f"{name}:script:{number}"
        assert script(keys=[key], args=["arg"]) == [key, "arg", 1]
    assert client.eval("return redis.call('GET', KEYS[1])", 1, f"{name}:script:0") == "1"


def errors(client, name):
    client.set(f"{name}:text", "text")
    for wrong in (lambda: client.lpush(f"{name}:text", 1), lambda: client.incr(f"{name}:text")):
        try:
            wrong()
        except redis.ResponseError:
            continue
        raise AssertionError("no error")


def binary(kind, name, protocol):
    client = connect(kind, protocol)
    every_byte = bytes(range(256)) * 100
    client.set(name.encode() + b":\x00\r\n\xff", every_byte)
    assert client.get(name.encode() + b":\x00\r\n\xff") == every_byte
    client.close()


def session(client):
    assert client.ping()
    assert client.echo("hi") == "hi"
    assert client.client_setname("python")
    assert client.client_getname() in ("python", None)  # a pool may take another connection
    assert client.client_id() > 0
    assert client.info()["redis_version"]
    assert client.dbsize() >= 0


for protocol in (2, 3, None):
    for kind in (redis.Redis, RedisCluster):
        name = f"py:{uuid.uuid4()}"
        client = connect(kind, protocol, decode_responses=True)
        values(client, name)
        many_keys(client, name)
        pipelines(client, name)
        streams(client, name)
        scripts(client, name)
        errors(client, name)
        binary(kind, name, protocol)
        if kind is redis.Redis:
            session(client)
            subscriptions(client, name)
            # Since redis-py 8 its default is RESP3.
            assert client.client_info()["resp"] == str(protocol or 3), client.client_info()
        client.close()
        print(f"redis-py {redis.__version__} {kind.__name__} RESP{protocol or 'by default'}: ok")
