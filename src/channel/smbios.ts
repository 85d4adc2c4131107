import type { BootChannel, BootGuest } from "#channel";
import {
  BUNDLE_CREDENTIAL,
  credentialsOf,
  listCredentials,
  lossesOf,
  openCredentials,
  type Credential,
} from "#channel/credentials";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";

const TEXT = "io.systemd.credential:";
const BINARY = "io.systemd.credential.binary:";
/** All tables together: their length has 16 bits in the entry point of SMBIOS 2.1, which QEMU makes. */
const MAX_TABLES = 65_535;
/** What QEMU's own tables take, measured with 7.2, and some more for each 16 GiB, which are a device of their own. */
const OWN_TABLES = 320;
const PER_DEVICE = 96;
const DEVICE_MIB = 16_384;
/** The strings of a table are counted in one byte. */
export const MAX_STRINGS = 255;
/** Bytes of strings, at most, in a machine of less than 16 GiB. */
export const MAX_STRING_BYTES: number = MAX_TABLES - OWN_TABLES;
/** What stands before the base64 of a whole bundle. */
export const BUNDLE_STRING: string = `${BINARY}${BUNDLE_CREDENTIAL}=`;
const ALPHABET = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

/**
 * Strings of SMBIOS's type 11 ("OEM Strings", DSP0134 7.12): `io.systemd.credential:NAME=VALUE`, or in base64 behind
 * `.binary` where the value is not plain text. The guest's kernel shows them as /sys/firmware/dmi/entries/11-0/raw.
 *
 * A VMM with a 64-bit entry point takes more than 65,535 bytes, and then shows the guest something else: the limit here
 * is for all.
 */
export const smbios: BootChannel = {
  kind: "smbios",

  check(manifest, guest) {
    const all = credentialsOf(manifest, guest);
    if (all.length > MAX_STRINGS) {
      throw new HatchwayError("too-large", `${all.length} secrets, and SMBIOS has room for ${MAX_STRINGS} strings`, {
        hint: "let the agent read all as one, or use a disk",
      });
    }
    checkRoom(leastSize(all, guest), guest);
  },

  measure(manifest, guest) {
    const all = listCredentials(manifest, guest);
    const bytes = { what: "bytes", size: leastSize(all, guest), limit: roomOf(guest) };
    return guest.reader === "agent" ? [bytes] : [bytes, { what: "secrets", size: all.length, limit: MAX_STRINGS }];
  },

  async compose(bundle, guest) {
    this.check(bundle.manifest, guest);
    const all = credentialsOf(bundle.manifest, guest);
    const values = await openCredentials(bundle, guest);
    try {
      const sizes = all.map(({ name }, at) => {
        const value = values[at] ?? Buffer.alloc(0);
        return stringSize(name, value.length, isPlainText(value));
      });
      checkRoom(
        sizes.reduce((sum, size) => sum + size, 0),
        guest,
      );
      const items = all.map(({ name }, at) => {
        return { kind: "smbios" as const, content: encodeString(name, values[at] ?? Buffer.alloc(0)) };
      });
      return { items, lost: lossesOf(bundle.manifest, guest) };
    } finally {
      for (const value of values) value.fill(0);
    }
  },
};

/** Bytes of a string, with its NUL. */
function stringSize(name: string, size: number, isText: boolean): number {
  const [prefix, content] = isText ? [TEXT, size] : [BINARY, 4 * Math.ceil(size / 3)];
  return prefix.length + name.length + 1 + content + 1;
}

/** As text, in which they are shortest; a bundle never is plain text. */
function leastSize(all: readonly Credential[], { reader }: BootGuest): number {
  return all.reduce((sum, { name, size }) => sum + stringSize(name, size, reader === "systemd"), 0);
}

function roomOf({ memoryMiB }: BootGuest): number {
  return MAX_STRING_BYTES - PER_DEVICE * Math.floor(memoryMiB / DEVICE_MIB);
}

function checkRoom(size: number, guest: BootGuest): void {
  const room = roomOf(guest);
  if (size <= room) return;
  throw new HatchwayError("too-large", `${size} bytes of SMBIOS strings, and there is room for ${room}`, {
    hint: "use fw-cfg, which takes 1 MiB, or a disk",
  });
}

/** Printable ASCII, which every reader of the tables takes as it is. */
function isPlainText(value: Buffer): boolean {
  return value.every((byte) => byte >= 0x20 && byte < 0x7f);
}

function encodeString(name: string, value: Buffer): Buffer {
  const isText = isPlainText(value);
  const start = `${isText ? TEXT : BINARY}${name}=`;
  const content = valueBuffer(stringSize(name, value.length, isText) - 1);
  content.write(start, "latin1");
  if (isText) content.set(value, start.length);
  else writeBase64(value, content, start.length);
  return content;
}

/** RFC 4648, section 4, from buffer to buffer: a value is never a string. */
function writeBase64(value: Buffer, into: Buffer, start: number): void {
  let at = start;
  for (let from = 0; from < value.length; from += 3) {
    const [first = 0, second, third] = value.subarray(from, from + 3);
    const bits = (first << 16) | ((second ?? 0) << 8) | (third ?? 0);
    into[at++] = ALPHABET[bits >> 18] ?? 0;
    into[at++] = ALPHABET[(bits >> 12) & 63] ?? 0;
    into[at++] = second === undefined ? 0x3d : (ALPHABET[(bits >> 6) & 63] ?? 0);
    into[at++] = third === undefined ? 0x3d : (ALPHABET[bits & 63] ?? 0);
  }
}
