// What a hostile client does, as long as it runs: it begins a request on 2,000 connections and leaves it, opens again what
// is closed, and sends every request of test/vectors/http again and again. Says "ready" once it has begun.
//
//   node bench/noise.ts ADMIN_SOCKET CONTROL_SOCKET GUEST_SOCKET
import { connect, type Socket } from "node:net";
import { rawCases, requestOf, type Surface } from "#test/kit/raw-http";
import { KEY } from "./daemon.ts";

const HALF_OPEN = 2_000;
/** Connections that are made again where some were closed, in so many milliseconds: what is let in is cut off after 5 s. */
const AGAIN = 4;
const EVERY = 10;

const [admin = "", control = "", guest = ""] = process.argv.slice(2);
const host = "host: x\\r\\n";
const surfaces: Surface[] = [
  { name: "admin", at: { path: admin }, get: "/secrets", one: "/secrets/db", post: "/secrets", head: host },
  { name: "runner", at: { path: control }, get: "/status", one: "/status", post: "/status", head: host },
  {
    name: "guest",
    at: { path: guest },
    get: "/v1/manifest",
    one: "/v1/secrets/db",
    post: "/v1/receipts/x",
    head: `${host}authorization: Hatchway ${KEY}\\r\\n`,
  },
];
const corpus = rawCases().flatMap((one) => surfaces.map((surface) => ({ surface, ...requestOf(one, surface) })));

const half = new Set<Socket>();
let opened = 0;

/** Most go to the admin socket: it takes 256 of them, and that of a VM 32. */
function openHalf(): void {
  const path = opened++ % 8 === 0 ? guest : admin;
  const socket = connect({ path });
  half.add(socket);
  socket.once("connect", () => socket.write("GET /v1/bundle?wait=60 HTTP/1.1\r\nhost: x\r\nx-more: "));
  // Cut off, or not let in at all: the next one takes its place.
  socket.on("error", () => socket.destroy());
  socket.once("close", () => half.delete(socket));
  socket.resume();
}

/** Sends a request and takes what comes until the other side closes, or for a moment. */
async function send(surface: Surface, bytes: Buffer): Promise<void> {
  const socket = connect(surface.at);
  const over = new Promise<void>((resolve) => socket.once("error", () => resolve()).once("close", () => resolve()));
  socket.resume();
  socket.end(bytes);
  const late = setTimeout(() => socket.destroy(), 200);
  await over;
  clearTimeout(late);
}

for (let count = 0; count < HALF_OPEN; count++) openHalf();
setInterval(() => {
  for (let count = 0; count < AGAIN && half.size < HALF_OPEN; count++) openHalf();
}, EVERY);
console.log("ready");
for (;;) for (const { surface, bytes } of corpus) await send(surface, bytes);
