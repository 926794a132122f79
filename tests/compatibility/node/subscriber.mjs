/**
 * One stock Redis client for Node.js that subscribes to queries: `node subscriber.mjs <client> <query> ...`. Prints a
 * JSON line for each event that the library hands out, and reconnects only as the library does by itself.
 */

const [name, ...queries] = process.argv.slice(2);
const { EVENTFLOWDB_HOST: host, EVENTFLOWDB_PORT: port } = process.env;
const handOut = (payload, channel) =>
  console.log(JSON.stringify({ channel, position: JSON.parse(payload).position }));

if (name.startsWith("ioredis")) {
  const { Redis } = await import(name);
  const client = new Redis({ host, port: Number(port) });
  client.on("error", () => {}).on("message", (channel, payload) => handOut(payload, channel));
  await client.subscribe(...queries);
} else {
  const { createClient } = await import(name);
  const client = createClient({ socket: { host, port: Number(port) } });
  client.on("error", () => {});
  await client.connect();
  await client.subscribe(queries, handOut);
}
