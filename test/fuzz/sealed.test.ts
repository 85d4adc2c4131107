// Parsers of what is sealed or signed, past the seal: whoever has a recipient can seal to it, so that what is inside is
// anybody's. Where a digest would refuse every change, it is made again behind the change.
import { createHash, createPrivateKey } from "node:crypto";
import { Encrypter } from "age-encryption";
import type { BackupItem } from "#backup";
import { encodeBackup } from "#backup/tar";
import { generateCertificate } from "#keygen/certificate";
import { readElements } from "#keygen/der-reader";
import { pem } from "#keygen/pem";
import { pemBlocks, readRevocations } from "#keygen/revocations";
import { commonName, keyIdOf, newSerial, signRevocations } from "#keygen/x509";
import { BLOCK } from "#protocol/ustar";
import { openHeader } from "#vault/age-header";
import { openPayload } from "#vault/age-stream";
import { Key } from "#vault/envelope";
import { decodeKeyBackup, encodeKeyBackup } from "#vault/key-backup";
import { inChunks, itemsOf, joined } from "#test/kit/backup";
import { fuzzAll, same, type Target } from "#test/kit/fuzz";
import { makeReader } from "#test/kit/taken-backup";

const at = "2026-01-31T12:00:00.000Z";
const items: BackupItem[] = [
  {
    kind: "head",
    head: {
      format: 1,
      hatchway: "0.1.0",
      made_at: at,
      store: { epoch: "0".repeat(32), revision: 7 },
      secrets: 1,
      vms: 1,
      values: 2,
      bytes: 605,
    },
  },
  {
    kind: "secret",
    secret: {
      name: "db",
      created_at: at,
      modified_at: at,
      labels: { team: "db" },
      delivery: { file: true, mode: "0600", user: 0, group: "root", onChange: { reload: "app.service" } },
      versions: [
        { version: 3, size: 600, at },
        { version: 1, size: 5, at },
      ],
    },
  },
  { kind: "value", name: "db", version: 3, bytes: Buffer.alloc(600, 0xee) },
  { kind: "value", name: "db", version: 1, bytes: Buffer.from("older") },
  {
    kind: "vm",
    vm: {
      name: "web-1",
      created_at: at,
      runner: { uid: 1000, gid: 1000 },
      launch: { memoryMiB: 256, cpus: 1, firmware: { kind: "fw-cfg", reader: "agent", allowReserved: false } },
      grants: [{ secret: "db", change: { env: null, path: "a/b" }, pin: 1, attached_at: at }],
    },
  },
];

async function* each(all: readonly BackupItem[]): AsyncGenerator<BackupItem> {
  yield* all;
}

/** With the digest that its last file would have, where there still is one. */
function digestedAgain(tar: Buffer): Buffer {
  const end = tar.lastIndexOf("end.json\0", undefined, "latin1");
  const digest = end < 0 ? -1 : tar.indexOf('{"sha256":"', end, "latin1");
  if (digest < 0) return tar;
  const again = Buffer.from(tar);
  again.write(createHash("sha256").update(tar.subarray(0, end)).digest("hex"), digest + '{"sha256":"'.length);
  return again;
}

async function readBackup(input: Buffer): Promise<void> {
  const tar = digestedAgain(input);
  const read = await itemsOf(inChunks(tar, 1_000));
  same("the backup", await itemsOf(encodeBackup(each(read))), read);
}

const reader = await makeReader();
const byIdentity = new Encrypter();
byIdentity.addRecipient(reader.recipient);
const byPassphrase = new Encrypter();
byPassphrase.setPassphrase("phrase");
byPassphrase.setScryptWorkFactor(1);
const plain = Buffer.alloc(140_000, "plain ");
const [file, phraseFile] = await Promise.all(
  [byIdentity, byPassphrase].map(async (one) => Buffer.from(await one.encrypt(plain))),
);
if (!file || !phraseFile) throw new Error("there is nothing to open");
const opener = { path: "identity", identity: reader.identity };
const { fileKey, length } = await openHeader(file, opener);
const payload = file.subarray(length);
/** The heads of both kinds, and their payloads cut short, so that most changes are to what is read first. */
const heads = [file, phraseFile].map((one) => one.subarray(0, 600));

/** Whether its passphrase takes more work than a run has time for; what is beyond all bounds is refused at once. */
function isSlow(input: Buffer): boolean {
  const work = Number(/-> scrypt \S+ ([0-9]+)/.exec(input.toString("latin1"))?.[1] ?? 0);
  return work > 8 && work < 21;
}

function reading(bytes: Buffer): (into: Buffer) => Promise<number> {
  let from = 0;
  return async (into) => {
    const copied = bytes.copy(into, 0, from);
    from += copied;
    return copied;
  };
}

const { certificate, key: signerKey } = generateCertificate("ca", 1);
const signer = createPrivateKey(signerKey);
const [authority] = pemBlocks(certificate, "CERTIFICATE");
const list = signRevocations(
  {
    issuer: commonName("ca"),
    keyId: keyIdOf(signer),
    number: 300,
    thisUpdate: new Date(at),
    nextUpdate: new Date("2051-02-03T04:05:06Z"),
    revoked: [1, 2, 3].map(() => ({ serial: newSerial(), at: new Date(at) })),
  },
  signer,
);

const keys = encodeKeyBackup({
  storeId: Buffer.alloc(16, 1),
  root: new Key(Buffer.alloc(32, 2)),
  current: 3,
  terms: [1, 3].map((term) => ({ term, created: at, key: new Key(Buffer.alloc(32, term)) })),
});

const targets: Target[] = [
  {
    name: "a backup of keys",
    seeds: [keys],
    words: ["\n", " ", "term ", "root ", "current ", `term 4 ${"0a".repeat(32)} ${at}\n`, "hatchway key backup 2"],
    inputs: 3_000,
    read: (input) => same("the backup of keys", encodeKeyBackup(decodeKeyBackup(input)), input),
  },
  {
    name: "the tar of a backup",
    seeds: [await joined(encodeBackup(each(items)))],
    words: ["\0".repeat(BLOCK), "values/db/1", "secrets/../x.json", '"size":', '"versions":[]', '"__proto__":', "null"],
    read: readBackup,
  },
  {
    name: "the items of a backup",
    // JSON of items whose tar is right in all else.
    seeds: items.map((item) => Buffer.from(JSON.stringify(item))),
    words: ['"kind":"vm"', '"format":2', '"versions":[]', '"name":"../x"', "null", '{"', "-1", '"grants":'],
    inputs: 3_000,
    read: async (input) => {
      const changed = asItem(input);
      if (changed)
        await readBackup(
          await joined(encodeBackup(each(items.map((item) => (item.kind === changed.kind ? changed : item))))),
        );
    },
  },
  {
    name: "the header of an age file",
    seeds: heads,
    words: ["-> ", "--- ", "\n", "X25519 ", "scrypt ", "-> X25519 AAAA\n", "age-encryption.org/v1\n", "=", "\u00ff"],
    read: async (input) => {
      if (isSlow(input)) return;
      const opened = await openHeader(input, opener);
      same("the header", opened.fileKey, fileKey);
    },
  },
  {
    name: "the header of an age file with a passphrase",
    seeds: heads,
    words: ["-> scrypt AAAA 1\n", " 20\n", " 64\n", " 1\n", "--- ", "\n"],
    read: async (input) => {
      if (!isSlow(input)) await openHeader(input, { passphrase: Buffer.from("phrase") });
    },
  },
  {
    name: "the payload of an age file",
    seeds: [payload],
    inputs: 300,
    read: async (input) => same("the payload", await joined(openPayload(fileKey, reading(input))), plain),
  },
  {
    name: "DER",
    seeds: [list, authority ?? list],
    words: ["\u0030\u0080", "\u0030\u0082", "\u0002\u0001", "\u0030\u0084\u00ff\u00ff\u00ff\u00ff", "\u001f"],
    inputs: 3_000,
    read: (input) => {
      try {
        same("DER", Buffer.concat(readElements(input).map(({ whole }) => whole)), input);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
    },
  },
  {
    name: "a revocation list",
    seeds: [list],
    words: ["\u0017\u000d260101000000Z", "\u0018\u000f20260101000000Z", "\u0002\u0001\u0000", "\u0030\u0000"],
    inputs: 500,
    // The words around it are as they should be; the signature is not, which is looked at last.
    read: (input) => void readRevocations("crl.pem", pem("X509 CRL", input), certificate),
  },
  {
    name: "a revocation list's PEM",
    seeds: [pem("X509 CRL", list)],
    words: ["-----BEGIN X509 CRL-----\n", "-----END X509 CRL-----", "=", "\n", "-----BEGIN CERTIFICATE-----"],
    inputs: 500,
    read: (input) => void readRevocations("crl.pem", input, certificate),
  },
];

/** An item that is still one by its outer form: what is in it is anything. */
function asItem(json: Buffer): BackupItem | undefined {
  try {
    const item = JSON.parse(json.toString()) as BackupItem | null;
    if (item?.kind === "head" && typeof item.head === "object" && item.head !== null) return item;
    if (item?.kind === "secret" && typeof item.secret?.name === "string") return item;
    if (item?.kind === "vm" && typeof item.vm?.name === "string") return item;
    return undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

fuzzAll(targets);
