// A host that has its answers ready, so that what a guest does is what takes the time: `bundle-host SOCKET COUNT` serves
// one bundle of COUNT files of 64 bytes to whoever asks. Says "ready" once it serves.
import { createServer } from "node:net";
import { encodeEnd, encodeManifestFile, entryHeader } from "#protocol/bundle";
import type { ManifestEntry } from "#protocol/manifest";
import { encodeHeader, padding } from "#protocol/ustar";

const SIZE = 64;
const [socket = "", count = ""] = process.argv.slice(2);
const entries = Array.from({ length: Number(count) }, (_, at): ManifestEntry => {
  const name = `secret-${at}`;
  return { name, version: 1, size: SIZE, file: { path: name, mode: "0400", user: at % 100, group: 7 } };
});
const manifest = { format: 1, vm: "web-1", revision: "e1.g1.1", mountRoot: "/run/hatchway/secrets", entries } as const;
const tar = Buffer.concat([
  encodeManifestFile(manifest),
  ...entries.flatMap((entry) => [
    encodeHeader(entryHeader(entry, 1_700_000_000)),
    Buffer.alloc(SIZE, "x"),
    new Uint8Array(padding(SIZE)),
  ]),
  encodeEnd(),
]);
const answer = (status: string, body: Buffer, more = ""): Buffer =>
  Buffer.concat([Buffer.from(`HTTP/1.1 ${status}\r\n${more}content-length: ${body.length}\r\n\r\n`), body]);
const nothing = Buffer.alloc(0);
const answers = {
  bundle: answer("200 OK", tar, `content-type: application/x-tar\r\netag: "${manifest.revision}"\r\n`),
  claim: answer("200 OK", nothing),
  receipt: answer("204 No Content", nothing),
};

createServer((stream) => {
  let text = "";
  stream.on("error", () => stream.destroy());
  stream.on("data", (bytes: Buffer) => {
    text += bytes.toString("latin1");
    const head = text.indexOf("\r\n\r\n");
    const length = Number(/content-length: ([0-9]+)/i.exec(text)?.[1] ?? 0);
    if (head < 0 || text.length < head + 4 + length) return;
    const { bundle, claim, receipt } = answers;
    stream.write(text.startsWith("GET") ? bundle : text.includes("/claim ") ? claim : receipt);
    text = "";
  });
}).listen(socket, () => console.log("ready"));
