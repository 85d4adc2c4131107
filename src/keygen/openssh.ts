// A key pair as ssh-keygen writes it. The private half, as PROTOCOL.key of OpenSSH draws it (`string`: u32 length, bytes):
//
//   "openssh-key-v1" NUL | string "none" (cipher) | string "none" (kdf) | string "" | u32 1 (keys)
//   | string public | string private, padded with 1, 2, 3, … to a multiple of 8
//   public   string "ssh-ed25519" | string key 32
//   private  u32 check | u32 check | string "ssh-ed25519" | string key 32 | string seed 32, key 32 | string comment
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { pem } from "./pem.ts";

const KIND = Buffer.from("ssh-ed25519");
const MAGIC = Buffer.from("openssh-key-v1\0");
const BLOCK = 8;
/** An Ed25519 key ends both of its DER forms (RFC 8410): 32 bytes. */
const SIZE = 32;

export interface SshKeyPair {
  /** For the caller to wipe. */
  privateKey: Buffer;
  /** One line, as authorized_keys takes it, without a newline. */
  publicKey: string;
}

export function generateSshKey(comment: string): SshKeyPair {
  const pair = generateKeyPairSync("ed25519");
  const pkcs8 = pair.privateKey.export({ format: "der", type: "pkcs8" });
  const key = pair.publicKey.export({ format: "der", type: "spki" }).subarray(-SIZE);
  const publicBlob = Buffer.concat([string(KIND), string(key)]);
  const check = randomBytes(4);
  const both = Buffer.concat([pkcs8.subarray(-SIZE), key]);
  const inner = [check, check, string(KIND), string(key), u32(both.length), both, string(Buffer.from(comment))];
  const length = inner.reduce((sum, part) => sum + part.length, 0);
  const padding = Buffer.from(Array.from({ length: (BLOCK - (length % BLOCK)) % BLOCK }, (_, index) => index + 1));
  const none = string(Buffer.from("none"));
  const head = [MAGIC, none, none, string(Buffer.alloc(0)), u32(1), string(publicBlob), u32(length + padding.length)];
  const whole = Buffer.concat([...head, ...inner, padding]);
  const privateKey = pem("OPENSSH PRIVATE KEY", whole, 70);
  for (const secret of [pkcs8, both, whole]) secret.fill(0);
  return { privateKey, publicKey: `ssh-ed25519 ${publicBlob.toString("base64")} ${comment}` };
}

function string(bytes: Buffer): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
