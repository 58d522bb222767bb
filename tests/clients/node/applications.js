// Job queues, locks, limiters, sessions and pub/sub of Node's ecosystem, unmodified, through the proxy, one after the
// other: `applications.js NAME ...`. Needs SLOTWAY_ADDR (host:port).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import BeeQueue from "bee-queue";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { RedisStore as SessionStore } from "connect-redis";
import express from "express";
import { rateLimit } from "express-rate-limit";
import session from "express-session";
import Redis from "ioredis";
import Keyv from "keyv";
import KeyvRedis from "@keyv/redis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { RedisStore as LimitStore } from "rate-limit-redis";
import { createClient, createCluster } from "redis";
import Redlock from "redlock";
import { Server } from "socket.io";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";

const [host, port] = process.env.SLOTWAY_ADDR.split(":");
const connection = { host, port: Number(port) };
const url = `redis://${process.env.SLOTWAY_ADDR}`;
// What scripts over several keys want on a cluster; a tenant whose keys are together does without.
const tag = (text) => (process.env.SLOTWAY_TOGETHER ? text : `{${text}}`);
const twenty = Array.from({ length: 20 }, (_, number) => number);

// An application that waits for ever is a failure, not a reason to wait.
setTimeout(() => {
  console.error("not done after two minutes");
  process.exit(1);
}, 120_000).unref();

// Scripts over a queue's keys: a hash tag as prefix, as its manual has it for clusters.
async function bullmq(name) {
  const options = { connection: { ...connection, maxRetriesPerRequest: null }, prefix: tag("bull") };
  const queue = new Queue(name, options);
  const events = new QueueEvents(name, options).setMaxListeners(0);
  let failures = 0;
  const run = async (job) => {
    if (job.name === "failing" && failures++ === 0) throw new Error("the first time");
    if (job.name === "parent") return Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0);
    return job.data.n * 2;
  };
  const worker = new Worker(name, run, { ...options, concurrency: 4 });
  queue.setMaxListeners(0);
  await Promise.all([worker.waitUntilReady(), events.waitUntilReady()]);
  const finished = (job) => job.waitUntilFinished(events, 20_000);
  const jobs = await queue.addBulk(twenty.map((n) => ({ name: "double", data: { n } })));
  assert.deepEqual(await Promise.all(jobs.map(finished)), twenty.map((n) => n * 2));
  assert.equal(await finished(await queue.add("double", { n: 5 }, { delay: 300 })), 10);
  assert.equal(await finished(await queue.add("failing", { n: 7 }, { attempts: 2 })), 14);
  const flows = new FlowProducer(options);
  const children = [1, 2, 3].map((n) => ({ name: "double", data: { n }, queueName: name }));
  assert.equal(await finished((await flows.add({ name: "parent", queueName: name, children })).job), 12);
  for (const one of [flows, worker, events, queue]) await one.close();
}

// The same, with BRPOPLPUSH and pub/sub.
async function beeQueue(name) {
  const queue = new BeeQueue(name, { redis: connection, prefix: tag("bq") });
  await queue.ready();
  queue.process(4, async (job) => job.data.n * 2);
  const done = async (n) => {
    const job = queue.createJob({ n });
    const result = new Promise((yes, no) => job.on("succeeded", yes).on("failed", no));
    await job.save();
    return result;
  };
  assert.deepEqual(await Promise.all(twenty.map(done)), twenty.map((n) => n * 2));
  await queue.close(1000);
}

// Counts in four loops, which goes wrong if two hold the lock at once.
async function redlock(name) {
  const clients = [1, 2, 3, 4].map(() => new Redis(connection));
  let count = 0;
  const work = async (client) => {
    const locks = new Redlock([client], { retryCount: 1000, retryDelay: 5, retryJitter: 5 });
    for (const _ of twenty) {
      const lock = await locks.lock([name], 5000);
      const seen = count;
      await sleep(1);
      count = seen + 1;
      await lock.extend(5000);
      await lock.unlock();
    }
  };
  await Promise.all(clients.map(work));
  assert.equal(count, 80);
  clients.forEach((client) => client.disconnect());
}

async function rateLimiter(name) {
  const clients = { plain: new Redis(connection), cluster: new Redis.Cluster([connection]) };
  for (const [kind, client] of Object.entries(clients)) {
    const limiter = new RateLimiterRedis({ storeClient: client, points: 10, duration: 60, keyPrefix: name + kind });
    const asked = await Promise.allSettled(Array.from({ length: 25 }, () => limiter.consume("user")));
    assert.equal(asked.filter(({ status }) => status === "fulfilled").length, 10);
    client.disconnect();
  }
}

// A web server's sessions and limits.
async function expressStores(name) {
  const client = await createClient({ url }).connect();
  const app = express();
  const store = new SessionStore({ client, prefix: `${name}:session:` });
  app.use(session({ store, secret: "secret", resave: false, saveUninitialized: true }));
  app.get("/count", (request, reply) => {
    request.session.count = (request.session.count ?? 0) + 1;
    reply.send(String(request.session.count));
  });
  const sendCommand = (...args) => client.sendCommand(args);
  const limits = new LimitStore({ prefix: `${name}:limit:`, sendCommand });
  app.get("/limited", rateLimit({ limit: 5, windowMs: 60_000, store: limits }), (_, reply) => reply.send("ok"));
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const fetched = (path, headers = {}) => fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers });
  const first = await fetched("/count");
  assert.equal(await first.text(), "1");
  const cookie = first.headers.get("set-cookie").split(";")[0];
  for (const count of ["2", "3"]) assert.equal(await (await fetched("/count", { cookie })).text(), count);
  for (const status of [200, 200, 200, 200, 200, 429, 429]) assert.equal((await fetched("/limited")).status, status);
  // By SCAN over all shards.
  assert.equal(await store.length(), 8);
  await store.clear();
  assert.equal(await store.length(), 0);
  server.closeAllConnections();
  server.close();
  await client.close();
}

async function keyv(name) {
  const cache = new Keyv({ store: new KeyvRedis(url), namespace: name });
  await cache.set("a", { n: 1 }, 10_000);
  await cache.set("b", 2);
  assert.deepEqual(await cache.get(["a", "b", "c"]), [{ n: 1 }, 2, undefined]);
  assert.equal(await cache.delete("a"), true);
  await cache.clear();
  assert.deepEqual(await cache.get(["a", "b"]), [undefined, undefined]);
  await cache.disconnect();
}

// Two servers that talk over channels, with answers, and over shard channels.
async function socketio(name) {
  const adapters = {
    plain: (pub, sub) => createAdapter(pub, sub, { key: name }),
    sharded: (pub, sub) => createShardedAdapter(pub, sub, { channelPrefix: name }),
  };
  for (const adapter of Object.values(adapters)) {
    const clients = await Promise.all([1, 2, 3, 4].map(() => createClient({ url }).connect()));
    const servers = [0, 2].map((index) => new Server({ adapter: adapter(clients[index], clients[index + 1]) }));
    const [one, other] = servers.map((server) => server.of("/"));
    while ((await one.adapter.serverCount()) < 2) await sleep(10);
    const heard = new Promise((go) => other.on("hello", (text, answer) => (answer("there"), go(text))));
    assert.deepEqual(await one.serverSideEmitWithAck("hello", "you"), ["there"]);
    assert.equal(await heard, "you");
    // Their last messages are under way.
    await Promise.all(clients.map((client) => client.ping?.().catch(() => {})));
    clients.forEach((client) => client.destroy());
  }
}

// ioredis' listener, subscribed again by itself on a new connection, beside a publisher.
async function pubsub(name) {
  const [listener, publisher] = [new Redis(connection), new Redis(connection)];
  const heard = { message: [], pmessage: [] };
  listener.on("message", (_, text) => heard.message.push(text));
  listener.on("pmessage", (_pattern, _channel, text) => heard.pmessage.push(text));
  await listener.subscribe(`${name}:news`);
  await listener.psubscribe(`${name}:n*`);
  for (const number of twenty) await publisher.publish(`${name}:news`, number);
  while (heard.message.length < 20 || heard.pmessage.length < 20) await sleep(10);
  assert.deepEqual(heard, { message: twenty.map(String), pmessage: twenty.map(String) });
  listener.disconnect(true);
  await once(listener, "ready");
  while ((await publisher.pubsub("NUMSUB", `${name}:news`))[1] !== 1) await sleep(10);
  await publisher.publish(`${name}:news`, "again");
  while (heard.message.length < 21) await sleep(10);
  listener.disconnect();
  publisher.disconnect();
}

// Clients for clusters, which take the proxy for a cluster of one node.
async function clusterClients(name) {
  const cluster = new Redis.Cluster([connection]);
  const listener = new Redis.Cluster([connection]);
  const heard = [];
  listener.on("message", (_, text) => heard.push(text));
  await listener.subscribe(`${name}:news`);
  await cluster.publish(`${name}:news`, "text");
  while (heard.length < 1) await sleep(10);
  assert.deepEqual(await cluster.multi().set(`{${name}}:a`, 1).incr(`{${name}}:a`).exec(), [[null, "OK"], [null, 2]]);
  cluster.defineCommand("both", { numberOfKeys: 2, lua: "return {redis.call('INCR', KEYS[1]), KEYS[2]}" });
  assert.deepEqual(await cluster.both(`{${name}}:a`, `{${name}}:b`), [3, `{${name}}:b`]);
  const popped = cluster.duplicate();
  const waiting = popped.blpop(`${name}:list`, 5);
  await cluster.rpush(`${name}:list`, "x");
  assert.deepEqual(await waiting, [`${name}:list`, "x"]);
  [cluster, listener, popped].forEach((client) => client.disconnect());
  for (const RESP of [2, 3]) {
    const nodes = await createCluster({ rootNodes: [{ url }], defaults: { RESP } }).connect();
    const texts = [];
    await nodes.subscribe(`${name}:${RESP}`, (text) => texts.push(text));
    await nodes.sSubscribe(`${name}:${RESP}:shard`, (text) => texts.push(text));
    await nodes.publish(`${name}:${RESP}`, "one");
    await nodes.sPublish(`${name}:${RESP}:shard`, "two");
    while (texts.length < 2) await sleep(10);
    assert.deepEqual(texts.sort(), ["one", "two"]);
    assert.deepEqual(await nodes.multi().set(`{${name}}:${RESP}`, "1").get(`{${name}}:${RESP}`).exec(), ["OK", "1"]);
    nodes.destroy();
  }
}

const applications = { bullmq, beeQueue, redlock, rateLimiter, expressStores, keyv, socketio, pubsub, clusterClients };
for (const wanted of process.argv.slice(2)) {
  await applications[wanted](`${wanted}-${randomUUID().slice(0, 8)}`);
  console.log(`${wanted}: ok`);
}
process.exit(0);
