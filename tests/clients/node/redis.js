// node-redis through the proxy: createClient in RESP2 and RESP3, createCluster. Needs SLOTWAY_ADDR (host:port).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createClient, createCluster } from "redis";

const url = `redis://${process.env.SLOTWAY_ADDR}`;

// A client that waits for ever is a failure, not a reason to wait.
setTimeout(() => {
  console.error("not done after two minutes");
  process.exit(1);
}, 120_000).unref();

async function values(client, name) {
  assert.equal(await client.set(`${name}:s`, "v", { EX: 100 }), "OK");
  assert.equal(await client.get(`${name}:s`), "v");
  await client.hSet(`${name}:h`, { a: "1", b: "2" });
  assert.deepEqual({ ...(await client.hGetAll(`${name}:h`)) }, { a: "1", b: "2" });
  await client.zAdd(`${name}:z`, [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]);
  assert.deepEqual(await client.zRangeWithScores(`${name}:z`, 0, -1), [
    { value: "a", score: 1 },
    { value: "b", score: 2.5 },
  ]);
  const id = await client.xAdd(`${name}:x`, "*", { job: "1" });
  assert.equal((await client.xRange(`${name}:x`, "-", "+"))[0].id, id);
  await assert.rejects(client.lPush(`${name}:s`, "1"), /WRONGTYPE/);
  assert.equal(await client.eval("return ARGV[1]", { keys: [`${name}:s`], arguments: ["a"] }), "a");
}

async function inFlight(client, name) {
  const numbers = Array.from({ length: 1000 }, (_, number) => number);
  await Promise.all(numbers.map((number) => client.set(`${name}:f:${number}`, String(number))));
  const read = await Promise.all(numbers.map((number) => client.get(`${name}:f:${number}`)));
  assert.deepEqual(read, numbers.map(String));
}

async function manyKeys(client, name) {
  const pairs = Object.fromEntries(Array.from({ length: 100 }, (_, number) => [`${name}:m:${number}`, String(number)]));
  assert.equal(await client.mSet(pairs), "OK");
  assert.deepEqual(await client.mGet(Object.keys(pairs)), Object.values(pairs));
  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: `${name}:m:*`, COUNT: 13 })) {
    [keys].flat().forEach((key) => found.add(key));
  }
  assert.deepEqual([...found].sort(), Object.keys(pairs).sort());
  assert.equal(await client.del(Object.keys(pairs)), 100);
}

// MULTI over keys of as many slots as there are keys: a cluster client wants them in one.
async function transactions(client, name) {
  const transaction = client.multi();
  for (let number = 0; number < 50; number++) {
    transaction.set(`${name}:t:${number}`, String(number)).hSet(`${name}:th:${number}`, { n: String(number) });
  }
  for (let number = 0; number < 50; number++) {
    transaction.get(`${name}:t:${number}`).hGetAll(`${name}:th:${number}`);
  }
  const read = (await transaction.exec()).slice(100);
  read.forEach((value, index) => {
    const number = String(Math.floor(index / 2));
    assert.deepEqual(index % 2 ? { ...value } : value, index % 2 ? { n: number } : number);
  });
  await client.watch([`${name}:t:1`, `${name}:t:2`]);
  await client.set(`${name}:t:2`, "changed");
  await assert.rejects(client.multi().set(`${name}:t:3`, "x").exec(), /watched key/i);
  assert.equal(await client.get(`${name}:t:3`), "3");
}

const kinds = {
  "client RESP2": () => createClient({ url, RESP: 2 }),
  "client RESP3": () => createClient({ url, RESP: 3 }),
  cluster: () => createCluster({ rootNodes: [{ url }] }),
};

for (const [kind, create] of Object.entries(kinds)) {
  const client = create();
  client.on("error", (error) => console.error(`${kind}: ${error}`));
  await client.connect();
  const name = `node-redis:${randomUUID()}`;
  await values(client, name);
  await inFlight(client, name);
  // node-redis' cluster checks slots itself.
  if (kind !== "cluster") {
    await manyKeys(client, name);
    await transactions(client, name);
  }
  await client.close();
  console.log(`node-redis ${kind}: ok`);
}
