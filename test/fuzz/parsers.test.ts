// Every parser of what another user or a guest sends, over inputs that are nearly right: each is refused in order, or is
// read as any other reader reads it.
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Duplex } from "node:stream";
import type { Socket } from "node:net";
import { afterAll } from "vitest";
import { readJson } from "#admin/json-value";
import { readTarget } from "#admin/target";
import { serveSessions } from "#channel/serial-session";
import { parseConfig } from "#daemon/config";
import { parseClaim, parseEnrolment, parseReceipt } from "#guest/messages";
import { readBitwarden } from "#import/bitwarden";
import { readEnvFile } from "#import/env-file";
import { readJsonSecrets } from "#import/json";
import { BundleReader } from "#protocol/bundle";
import { parseJson } from "#protocol/json";
import { encodeManifest, parseManifest } from "#protocol/manifest";
import { encodeSealHeader, parseSealHeader } from "#protocol/sealed";
import { decodeHeader, encodeHeader } from "#protocol/ustar";
import { openKeyring } from "#vault/keyring";
import { fuzzAll, same, type Target } from "#test/kit/fuzz";
import { requestOf, rawCases } from "#test/kit/raw-http";
import { bundleVectors } from "#test/kit/vectors";

const text = (...seeds: string[]): Buffer[] => seeds.map((seed) => Buffer.from(seed));
const JSON_WORDS = ['{"', '":', "[[", "]", "null", "true", '"__proto__":', "\\u0000", "\\ud800", "\ufeff", ","];

const surface = {
  name: "",
  at: { path: "" },
  get: "/secrets",
  one: "/secrets/db",
  post: "/secrets",
  head: "host: x\\r\\n",
};
const requests = rawCases()
  .map((one) => requestOf(one, surface).bytes)
  .filter((bytes) => bytes.length < 20_000);
const bodies = requests
  .map((bytes) => bytes.subarray(bytes.indexOf("\r\n\r\n") + 4))
  .filter((body) => body[0] === 0x7b);
const bundles = bundleVectors().filter(({ bytes }) => bytes.length < 20_000);
const receipt =
  '{"outcome":"applied","refused":[{"name":"a","reason":"b"}],"mount":"tmpfs","agent":"0.1.0","boot":"1"}';
const manifest = bundles.flatMap(({ bytes, outcome }) => {
  const size = Number.parseInt(bytes.toString("latin1", 124, 135), 8);
  return outcome === "ok" ? [bytes.subarray(512, 512 + size)] : [];
});
const CONFIG = `attach: defaults
listen: ["127.0.0.1:0", {address: "[::1]:8080", certificate: /a, key: /b, clients: /c}]
tokens: {ci: /etc/token}
roles: [{role: operator, secrets: "db-*", vms: "*", to: [{uid: 1000}, {token: ci}, {certificate: "*.x"}]}]
`;

const folder = mkdtempSync("/dev/shm/hw-fuzz-");
afterAll(() => rmSync(folder, { recursive: true }));
const keyring = join(folder, "keyring.json");
const places = { keyFile: join(folder, "root.key"), keyring };
writeFileSync(places.keyFile, Buffer.alloc(32, 1), { mode: 0o600 });

const ignore = (): void => undefined;

/** A port whose other end sends `input` in pieces and reads nothing back. */
async function converse(input: Buffer): Promise<void> {
  let written = 0;
  const port = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _, done) => {
      written += chunk.length;
      done();
    },
  });
  serveSessions(port as Socket, (stream) => stream.on("error", () => undefined).resume());
  for (let at = 0; at < input.length; at += 7) port.push(input.subarray(at, at + 7));
  port.push(null);
  await once(port, "end");
  if (written > input.length) throw new Error("more came back than an opening");
}

const targets: Target[] = [
  {
    name: "the target of a request",
    seeds: text("/secrets/db", "/secrets/db/", "/secrets/a%2Fb?x=y", "/vms/web/secrets/db?wait=60", "/%2e%2e/a"),
    words: ["%00", "%2f", "..", "//", "%c0%af", "?", "#", ";"],
    inputs: 3_000,
    read: (input) => {
      const target = readTarget(input.toString("latin1"));
      if (/(?:^|\/)\.\.?(?:\/|$)|%|\/\//.test(target.split("?")[0] ?? "")) throw new Error(`took ${target}`);
    },
  },
  {
    name: "a body of the admin API",
    seeds: [...bodies, ...text('{"name":"a","data":"aGVsbG8=","permissions":"0600","uid":0,"gid":0}')],
    words: [...JSON_WORDS, '"data":"', "====", "aGVsbG8="],
    inputs: 3_000,
    read: (input) => {
      const known = new Set(["name", "data", "permissions", "uid", "gid", "a"]);
      const { json, value } = readJson(input, known, true);
      const { data, ...rest } = JSON.parse(input.toString()) as Record<string, unknown>;
      same("the body", json, rest);
      if (value) same("the value", value, Buffer.from(data as string, "base64"));
    },
  },
  {
    name: "JSON of a guest",
    seeds: [...manifest, ...text(receipt, '{"a":[1,-0,true,null,"\\u00e9"]}')],
    words: JSON_WORDS,
    inputs: 3_000,
    read: (input) =>
      same("the JSON", JSON.stringify(parseJson(input, "input")), JSON.stringify(JSON.parse(input.toString()))),
  },
  {
    name: "a claim",
    seeds: text(`{"key":"${"0f".repeat(32)}"}`),
    words: JSON_WORDS,
    read: (input) => void parseClaim(input),
  },
  {
    name: "an enrolment",
    seeds: text(`{"guest":"${"0f".repeat(32)}","nonce":"${"1e".repeat(32)}","mac":"${"2d".repeat(32)}"}`),
    words: JSON_WORDS,
    read: (input) => void parseEnrolment(input),
  },
  { name: "a receipt", seeds: text(receipt), words: JSON_WORDS, read: (input) => void parseReceipt(input) },
  {
    name: "a manifest",
    seeds: manifest,
    words: [...JSON_WORDS, '"path":"', "../", "/run/hatchway", '"mode":"4755"', '"env":"LD_PRELOAD"'],
    read: (input) => same("the manifest", Buffer.from(encodeManifest(parseManifest(input))), input),
  },
  {
    name: "a tar header",
    seeds: bundles.map(({ bytes }) => bytes.subarray(0, 512)).filter((block) => block.length === 512),
    words: ["\0", "ustar", "0000777", "../"],
    inputs: 3_000,
    read: (input) => {
      if (input.length !== 512) return;
      same("the header", Buffer.from(encodeHeader(decodeHeader(input))), input);
    },
  },
  {
    name: "a bundle",
    seeds: bundles.map(({ bytes }) => bytes),
    words: ["\0".repeat(512), "ustar", ".hatchway/manifest.json"],
    read: (input) => {
      const reader = new BundleReader({ manifest: ignore, entry: ignore, data: ignore, endEntry: ignore });
      for (let at = 0; at < input.length; at += 700) reader.push(input.subarray(at, at + 700));
      reader.end();
    },
  },
  {
    name: "the header of a sealed image",
    seeds: [Buffer.from(encodeSealHeader({ format: "tar", length: 1_000, digest: Buffer.alloc(32, 7) }))],
    inputs: 3_000,
    words: ["hatchway seal 1\n", "tar\0\0\0\0\0", "squashfs", "iso\0\0\0\0\0", "erofs\0\0\0", "\0"],
    read: (input) =>
      same("the header", encodeSealHeader(parseSealHeader(input)), Uint8Array.from(input.subarray(0, 64))),
  },
  {
    name: "a serial port",
    seeds: text(`\0${"a1".repeat(16)}\nGET /v1/bundle HTTP/1.1\r\nhost: x\r\n\r\n`, `\0\0${"a1".repeat(16)}\n`, "x\0y"),
    words: ["\0", `\0${"b2".repeat(16)}\n`, "\n"],
    inputs: 300,
    read: converse,
  },
  {
    name: "the configuration",
    seeds: text(CONFIG, "", "listen: []\n", "a: &a [*a]\n"),
    words: ["&a ", "*a", "<<: ", "? ", "!!js/x ", "---\n", "\t", "{", "- ", "__proto__: "],
    inputs: 300,
    read: (input) => void parseConfig("/etc/hatchway/config.yaml", input.toString()),
  },
  {
    name: "a keyring",
    seeds: text(
      `{"format":1,"store":"${"0a".repeat(16)}","ways":[{"name":"key-file","kind":"key-file","sealed":"${"A".repeat(80)}"}],"current":1,"terms":[{"term":1,"created":"2026-01-01T00:00:00.000Z","sealed":"AAAA"}],"mac":"${"00".repeat(32)}"}`,
    ),
    words: [...JSON_WORDS, '"kind":"age"', '"ways":[]', '"terms":[]'],
    inputs: 300,
    read: async (input) => {
      writeFileSync(keyring, input, { mode: 0o600 });
      (await openKeyring(keyring, places))?.[Symbol.dispose]();
    },
  },
  {
    name: "an env file",
    seeds: text("A=1\nexport B='x y'\nC=\"a\\nb\"\n# c\nD=\n", "A='\n'\n"),
    words: ["export ", "'", '"', "\\", "\n", "=", "#", "$(x)", "\r"],
    inputs: 3_000,
    read: (input) => void readEnvFile(Buffer.from(input)),
  },
  {
    name: "a JSON file of secrets",
    seeds: text('{"a":"x","b":"\\u00e9\\n"}', '{"a":{"value":"x","env":"A"}}'),
    words: JSON_WORDS,
    inputs: 3_000,
    read: (input) => void readJsonSecrets(Buffer.from(input)),
  },
  {
    name: "an export of Bitwarden",
    seeds: text(
      '{"encrypted":false,"items":[{"type":1,"name":"a","login":{"username":"u","password":"p"},"fields":[{"name":"f","value":"v","type":1}],"notes":"n"},{"type":2,"name":"b","notes":"x"},{"type":5,"name":"k","sshKey":{"privateKey":"x"}}]}',
    ),
    words: [...JSON_WORDS, '"type":3', '"name":""', '"items":'],
    inputs: 3_000,
    read: (input) => void readBitwarden(Buffer.from(input)),
  },
];

fuzzAll(targets);
