// ioredis through the proxy: Redis and Cluster. Needs SLOTWAY_ADDR (host:port).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import Redis from "ioredis";

const [host, port] = process.env.SLOTWAY_ADDR.split(":");
const connect = {
  Redis: () => new Redis({ host, port: Number(port) }),
  Cluster: () => new Redis.Cluster([{ host, port: Number(port) }]),
};

// A client that waits for ever is a failure, not a reason to wait.
setTimeout(() => {
  console.error("not done after two minutes");
  process.exit(1);
}, 120_000).unref();

async function values(client, name) {
  assert.equal(await client.set(`${name}:s`, "v", "EX", 100), "OK");
  assert.equal(await client.get(`${name}:s`), "v");
  assert.equal(await client.incr(`${name}:n`), 1);
  await client.hset(`${name}:h`, { a: "1", b: "2" });
  assert.deepEqual(await client.hgetall(`${name}:h`), { a: "1", b: "2" });
  await client.rpush(`${name}:l`, "x", "y");
  assert.deepEqual(await client.lrange(`${name}:l`, 0, -1), ["x", "y"]);
  await client.zadd(`${name}:z`, 1, "a", 2.5, "b");
  assert.deepEqual(await client.zrange(`${name}:z`, 0, -1, "WITHSCORES"), ["a", "1", "b", "2.5"]);
  const bytes = Buffer.from(Array.from({ length: 25600 }, (_, index) => index % 256));
  await client.set(`${name}:bin`, bytes);
  assert.deepEqual(await client.getBuffer(`${name}:bin`), bytes);
  await assert.rejects(client.lpush(`${name}:s`, 1), /WRONGTYPE/);
}

async function inFlight(client, name) {
  const numbers = Array.from({ length: 1000 }, (_, number) => number);
  await Promise.all(numbers.map((number) => client.set(`${name}:f:${number}`, number)));
  const read = await Promise.all(numbers.map((number) => client.get(`${name}:f:${number}`)));
  assert.deepEqual(read, numbers.map(String));
}

async function pipelines(client, name) {
  const pipeline = client.pipeline();
  // Cluster wants a pipeline's keys on one node, which the proxy's one node always is.
  for (let number = 0; number < 500; number++) {
    pipeline.set(`${name}:p:${number}`, number).get(`${name}:p:${number}`);
  }
  const replies = await pipeline.exec();
  replies.forEach(([error, value], index) => {
    assert.equal(error, null);
    assert.equal(value, index % 2 ? String((index - 1) / 2) : "OK");
  });
}

async function scripts(client, name) {
  client.defineCommand("both", { numberOfKeys: 1, lua: "return {KEYS[1], ARGV[1]}" });
  for (let number = 0; number < 20; number++) {
    assert.deepEqual(await client.both(`${name}:${number}`, "a"), [`${name}:${number}`, "a"]);
  }
}

async function streams(client, name) {
  const key = `${name}:stream`;
  const id = await client.xadd(key, "*", "job", "1");
  await client.xgroup("CREATE", key, "g", "0");
  const reply = await client.xreadgroup("GROUP", "g", "c", "COUNT", 5, "STREAMS", key, ">");
  assert.deepEqual(reply, [[key, [[id, ["job", "1"]]]]]);
  assert.equal(await client.xack(key, "g", id), 1);
}

async function manyKeys(client, name) {
  const pairs = Array.from({ length: 100 }, (_, number) => [`${name}:m:${number}`, String(number)]);
  assert.equal(await client.mset(...pairs.flat()), "OK");
  const keys = pairs.map(([key]) => key);
  assert.deepEqual(await client.mget(...keys), pairs.map(([, value]) => value));
  const found = new Set();
  for await (const some of client.scanStream({ match: `${name}:m:*`, count: 13 })) {
    some.forEach((key) => found.add(key));
  }
  assert.deepEqual([...found].sort(), [...keys].sort());
  assert.equal(await client.del(...keys), 100);
}

async function transactions(client, name) {
  const transaction = client.multi();
  for (let number = 0; number < 50; number++) {
    transaction.set(`${name}:t:${number}`, number).hset(`${name}:th:${number}`, { n: number });
    transaction.get(`${name}:t:${number}`).hgetall(`${name}:th:${number}`);
  }
  const replies = await transaction.exec();
  for (let number = 0; number < 50; number++) {
    const four = replies.slice(4 * number, 4 * number + 4);
    assert.deepEqual(four, [[null, "OK"], [null, 1], [null, String(number)], [null, { n: String(number) }]]);
  }
  await client.watch(`${name}:t:1`, `${name}:t:2`);
  assert.equal((await client.multi().incr(`${name}:t:1`).incr(`${name}:t:2`).exec()).length, 2);
  await client.watch(`${name}:t:1`, `${name}:t:2`);
  await client.set(`${name}:t:2`, "changed");
  assert.equal(await client.multi().set(`${name}:t:3`, "x").exec(), null);
  assert.equal(await client.get(`${name}:t:3`), "3");
}

for (const kind of ["Redis", "Cluster"]) {
  const client = connect[kind]();
  const name = `ioredis:${randomUUID()}`;
  await values(client, name);
  await inFlight(client, name);
  await pipelines(client, name);
  await scripts(client, name);
  await streams(client, name);
  // ioredis' Cluster checks slots itself and has no scan of its own.
  if (kind === "Redis") {
    await manyKeys(client, name);
    await transactions(client, name);
  }
  await client.quit();
  console.log(`ioredis ${kind}: ok`);
}
