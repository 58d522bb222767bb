"""Job queues, caches, limiters and locks of Python's ecosystem, unmodified, through the proxy: one after the other.

    applications.py NAME ...

Needs SLOTWAY_ADDR (host:port). Each has a name of its own for its keys, so that a run meets nothing of an earlier one."""

import asyncio
import faulthandler
import os
import sys
import threading
import time
import uuid

import redis

HOST, PORT = os.environ["SLOTWAY_ADDR"].rsplit(":", 1)
URL = f"redis://{HOST}:{PORT}"
TWENTY = range(20)


def tag(text):
    """What scripts over several keys want on a cluster; a tenant whose keys are together does without."""
    return text if os.environ.get("SLOTWAY_TOGETHER") else "{" + text + "}"


def connect():
    return redis.Redis(host=HOST, port=int(PORT))


def plus(a, b):
    return a + b


def total(numbers):
    return sum(numbers)


def rq(name):
    """A queue whose every step is a transaction over keys of several names; dependent and failed jobs."""
    from rq import Queue, SimpleWorker
    from rq.timeouts import TimerDeathPenalty

    client = connect()
    queue = Queue(name, connection=client)
    jobs = [queue.enqueue("operator.mul", number, 2) for number in TWENTY]
    behind = queue.enqueue("operator.add", 1, 2, depends_on=jobs[-1])
    failing = queue.enqueue("operator.truediv", 1, 0)
    worker = SimpleWorker([queue], connection=client)
    worker.death_penalty_class = TimerDeathPenalty
    worker.work(burst=True, logging_level="CRITICAL")
    assert [job.return_value() for job in jobs] == [2 * number for number in TWENTY]
    assert behind.return_value() == 3
    assert queue.failed_job_registry.get_job_ids() == [failing.id]


def celery(name):
    """BRPOP over several queues, unacknowledged tasks in transactions, results by pub/sub, chains, groups, a chord. Its
    broker and its chords have scripts over several keys, so all its keys get a hash tag as prefix."""
    from celery import Celery, chain, chord, group
    from celery.contrib.testing.worker import start_worker

    app = Celery(name, broker=URL, backend=URL, set_as_current=False)
    app.conf.task_default_queue = name
    app.conf.broker_transport_options = {"global_keyprefix": tag(name)}
    app.conf.result_backend_transport_options = {"global_keyprefix": tag(name)}
    add = app.task(plus, name=f"{name}.add")
    summed = app.task(total, name=f"{name}.total")
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="CRITICAL"):
        assert add.delay(2, 3).get(timeout=20) == 5
        assert chain(add.s(1, 2), add.s(3))().get(timeout=20) == 6
        assert group(add.s(number, number) for number in TWENTY)().get(timeout=20) == [2 * number for number in TWENTY]
        assert chord((add.s(number, number) for number in TWENTY), summed.s())().get(timeout=20) == 380
        assert app.control.ping(timeout=2), "no worker answers over pub/sub"


def dramatiq(name):
    """One Lua script over the keys of a namespace, which it is not told: a hash tag keeps them together."""
    from dramatiq import Worker, actor
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=URL, namespace=tag(name))
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
    add = actor(plus, actor_name="add", store_results=True, broker=broker)
    messages = [add.send(number, 1) for number in TWENTY]
    worker = Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    got = [message.get_result(backend=broker.get_results_backend(), block=True, timeout=10_000) for message in messages]
    worker.stop()
    assert got == [number + 1 for number in TWENTY]


def huey(name):
    """Blocking pops, a schedule taken by a script, a priority queue in a zset, a lock."""
    from huey import PriorityRedisHuey, RedisHuey

    for kind in (RedisHuey, PriorityRedisHuey):
        app = kind(f"{name}-{kind.__name__}", url=URL)
        add = app.task(name="add")(plus)
        results = [add(number, 1) for number in TWENTY]
        later = add.schedule((5, 5), delay=0.5)
        consumer = app.create_consumer(workers=2, scheduler_interval=1, check_worker_health=False)
        consumer.start()
        assert [result.get(blocking=True, timeout=10) for result in results] == [number + 1 for number in TWENTY]
        assert later.get(blocking=True, timeout=10) == 10
        with app.lock_task("lock"):
            assert app.lock_task("lock").is_locked()
        consumer.stop(graceful=True)


def limits(name):
    """Windows of three kinds, each a script."""
    from limits import parse, storage, strategies

    limit = parse("10/hour")
    for kind in ("FixedWindowRateLimiter", "MovingWindowRateLimiter", "SlidingWindowCounterRateLimiter"):
        limiter = getattr(strategies, kind)(storage.storage_from_string(URL))
        assert [limiter.hit(limit, name, kind) for _ in range(15)] == [True] * 10 + [False] * 5
        assert limiter.get_window_stats(limit, name, kind).remaining == 0
        limiter.clear(limit, name, kind)
        assert limiter.test(limit, name, kind)


def locks(name):
    """redis-py's lock, which polls, and python-redis-lock, which waits with BLPOP and whose two keys want a hash tag."""
    import redis_lock

    count_under(lambda client: client.lock(name, timeout=10, blocking_timeout=20, sleep=0.002))
    count_under(lambda client: redis_lock.Lock(client, tag(name), expire=10))


def count_under(lock):
    """Counts to 100 in four threads, which goes wrong if two hold the lock at once."""
    count = [0]

    def work():
        client = connect()
        for _ in range(25):
            with lock(client):
                seen = count[0]
                time.sleep(0.0005)
                count[0] = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [100]


def cachelib(name):
    """Flask's cache: batches over all shards, and what clears it."""
    from cachelib import RedisCache

    cache = RedisCache(host=HOST, port=int(PORT), key_prefix=name)
    keys = [f"k{number}" for number in TWENTY]
    cache.set_many(dict(zip(keys, TWENTY)))
    assert cache.get_many(*keys) == list(TWENTY)
    assert cache.add("once", 1) and not cache.add("once", 2)
    assert cache.inc("n", 3) == 3
    assert len(cache.delete_many(*keys[:5])) == 5
    cache.clear()
    assert cache.get_many("once", "n", *keys) == [None] * 22


def aiocache(name):
    """asyncio's cache: MSET and EXPIRE of many keys in one transaction."""
    from aiocache import RedisCache
    from aiocache.lock import RedLock

    async def use():
        async with RedisCache(endpoint=HOST, port=int(PORT), namespace=name) as cache:
            pairs = [(f"k{number}", str(number)) for number in TWENTY]
            await cache.multi_set(pairs, ttl=30)
            assert await cache.multi_get([key for key, _ in pairs]) == [value for _, value in pairs]
            async with RedLock(cache, "lock", lease=2):
                pass
            await cache.clear(namespace=name)
            assert await cache.multi_get([key for key, _ in pairs]) == [None] * 20

    asyncio.run(use())


def pubsub(name):
    """redis-py's listener thread, with handlers, beside a publisher on the pool's other connections."""
    client = connect()
    heard = {"channel": [], "pattern": []}
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(**{f"{name}:news": lambda message: heard["channel"].append(message["data"])})
    listener.psubscribe(**{f"{name}:n*": lambda message: heard["pattern"].append(message["data"])})
    thread = listener.run_in_thread(sleep_time=0.01, daemon=True)
    wait_until(lambda: client.pubsub_numsub(f"{name}:news")[0][1] == 1 and client.pubsub_numpat() >= 1)
    for number in range(200):
        client.publish(f"{name}:news", number)
    wait_until(lambda: all(len(data) == 200 for data in heard.values()))
    thread.stop()
    thread.join()
    assert heard == dict.fromkeys(heard, [str(number).encode() for number in range(200)])


def cluster_clients(name):
    """redis-py's client for clusters, which takes the proxy for a cluster of one node: what an application does with it."""
    from redis.cluster import RedisCluster

    for protocol in (2, 3):
        client = RedisCluster(host=HOST, port=int(PORT), protocol=protocol, decode_responses=True)
        own = f"{name}:{protocol}"
        count_under(lambda _: client.lock(f"{own}:lock", timeout=10, blocking_timeout=20, sleep=0.002))
        pipe = client.pipeline()
        for number in range(300):
            pipe.set(f"{own}:{number}", number).get(f"{own}:{number}")
        assert pipe.execute()[1::2] == [str(number) for number in range(300)]
        # One slot's transaction, and WATCH.
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(f"{own}:1")
            seen = int(pipe.get(f"{own}:1"))
            pipe.multi()
            pipe.set(f"{own}:1", seen + 1)
            assert pipe.execute() == ["OK"]
        assert client.get(f"{own}:1") == "2"
        pushing = threading.Timer(0.1, lambda: client.rpush(f"{own}:list", "x"))
        pushing.start()
        assert tuple(client.blpop([f"{own}:list"], timeout=3)) == (f"{own}:list", "x")
        assert client.register_script("return {KEYS[1], ARGV[1]}")(keys=[f"{own}:k"], args=["a"]) == [f"{own}:k", "a"]
        shard_messages(client, f"{own}:shard")
        client.close()


def shard_messages(client, channel):
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.ssubscribe(channel)
    heard = []

    def listened():
        # The first ones may come before the subscription: said again until one is heard.
        client.spublish(channel, "text")
        message = listener.get_sharded_message(timeout=0.1)
        heard.extend([message["data"]] if message else [])
        return heard

    wait_until(listened)
    assert set(heard) == {"text"}
    listener.close()


def asyncio_clients(name):
    """redis-py's asyncio clients: a hundred tasks on one pool, a listener, blocked pops, the client for clusters."""
    from redis import asyncio as aio
    from redis.asyncio.cluster import RedisCluster

    async def count(client, key):
        await asyncio.gather(*(client.incr(key) for _ in range(100)))
        assert await client.get(key) == b"100"

    async def use():
        client = aio.Redis(host=HOST, port=int(PORT))
        cluster = RedisCluster(host=HOST, port=int(PORT))
        await count(client, f"{name}:n")
        await count(cluster, f"{name}:m")
        pops = [asyncio.create_task(client.blpop([f"{name}:a", f"{name}:b"], timeout=4)) for _ in TWENTY]
        for number in TWENTY:
            await cluster.rpush(f"{name}:{'ab'[number % 2]}", number)
        assert sorted(int(value) for _, value in await asyncio.gather(*pops)) == list(TWENTY)
        async with client.pubsub(ignore_subscribe_messages=True) as listener:
            await listener.subscribe(f"{name}:news")
            while (await client.pubsub_numsub(f"{name}:news"))[0][1] != 1:
                await listener.get_message(timeout=0.01)
            await client.publish(f"{name}:news", "text")
            heard = None
            while heard is None:
                heard = await listener.get_message(timeout=1)
            assert heard["data"] == b"text"
        async with client.lock(f"{name}:lock", timeout=5):
            assert not await client.lock(f"{name}:lock", timeout=5).acquire(blocking=False)
        # A command that was given up must not shift the replies of those behind it (CVE-2023-28858).
        abandoned = asyncio.create_task(client.blpop([f"{name}:none"], timeout=4))
        await asyncio.sleep(0.1)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        for number in TWENTY:
            assert await client.echo(str(number)) == str(number).encode()
        await client.aclose()
        await cluster.aclose()

    asyncio.run(use())


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# An application that waits for ever is a failure, not a reason to wait.
faulthandler.dump_traceback_later(120, exit=True)
for wanted in sys.argv[1:]:
    globals()[wanted](f"{wanted}-{uuid.uuid4().hex[:8]}")
    print(f"{wanted}: ok", flush=True)
# Some leave threads behind that wait for their servers.
os._exit(0)
