// A client of node-redis in RESP3 that counts while it is moved: as python/moving.py.
//
//     moving.js HOST PORT COUNTER

import readline from "node:readline";
import { createClient } from "redis";

const [host, port, counter] = process.argv.slice(2);
const client = createClient({ socket: { host, port: Number(port) }, RESP: 3, maintNotifications: "enabled" });
const errors = [];
let answers = 0;
let ended = false;

client.on("error", (error) => errors.push(String(error)));
await client.connect();

async function count() {
  while (!ended) {
    try {
      await client.incr(counter);
      answers += 1;
    } catch (error) {
      errors.push(String(error));
      if (errors.length > 20) return;
    }
  }
}

const counting = Promise.all([count(), count(), count()]);
while (answers < 3) await new Promise((done) => setTimeout(done, 10));
console.log("counting");
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line.trim() !== "hosts") break;
  console.log(JSON.stringify([client.options.socket.host]));
}
ended = true;
await counting;
client.destroy();
console.log(JSON.stringify({ answers, errors }));
process.exit(0);
