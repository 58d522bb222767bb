"""A pool of redis-py, with its defaults, that counts while it is moved.

    moving.py HOST PORT COUNTER [AUTHORITY]

With the file of an AUTHORITY it speaks TLS, and is told addresses, as nothing here has a name. Threads count up COUNTER
until a line comes on standard input. Says "counting" once all do, and in the end, in JSON, how many answers came, the
errors there were, and the hosts that connections of the pool lead to."""

import json
import sys
import threading
import time

import redis
from redis.maint_notifications import EndpointType, MaintNotificationsConfig

HOST, PORT, COUNTER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
THREADS = 6

client = redis.Redis(host=HOST, port=PORT)
if len(sys.argv) > 4:
    moved = MaintNotificationsConfig(enabled=True, endpoint_type=EndpointType.EXTERNAL_IP)
    client = redis.Redis(
        host=HOST, port=PORT, ssl=True, ssl_ca_certs=sys.argv[4], protocol=3, maint_notifications_config=moved
    )
ended = threading.Event()
lock = threading.Lock()
answers, errors, last = 0, [], {}


def count(number):
    global answers
    while not ended.is_set():
        try:
            client.incr(COUNTER)
            with lock:
                answers += 1
                last[number] = True
        except redis.RedisError as error:
            errors.append(f"{type(error).__name__}: {error}")
            if len(errors) > 20:
                return
        time.sleep(0.002)


def hosts():
    pool = client.connection_pool
    connections = list(pool._available_connections) + list(pool._in_use_connections)
    return sorted({connection.host for connection in connections})


threads = [threading.Thread(target=count, args=(number,), daemon=True) for number in range(THREADS)]
for thread in threads:
    thread.start()
while len(last) < THREADS:
    time.sleep(0.01)
print("counting", flush=True)
for line in sys.stdin:
    if line.strip() == "hosts":
        print(json.dumps(hosts()), flush=True)
    else:
        break
ended.set()
for thread in threads:
    thread.join()
print(json.dumps({"answers": answers, "errors": errors, "hosts": hosts()}), flush=True)
