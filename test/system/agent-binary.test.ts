// Facts about the compiled agent as a file and as a process.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, it } from "vitest";
import { guestAndHost } from "#test/kit/guest-and-host";
import { AARCH64, COMPILED, ended, GuestNamespace } from "#test/kit/guest-namespace";
import { env, file, HostPeer, type Given } from "#test/kit/host-peer";

const ET_DYN = 3;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_GNU_STACK = 0x6474e551;
const PT_GNU_RELRO = 0x6474e552;
const EXECUTABLE = 1;
const WRITABLE = 2;

/** Program headers of a 64-bit little-endian ELF file (elf(5)). */
function programHeaders(elf: Buffer): { type: number; flags: number }[] {
  const start = Number(elf.readBigUInt64LE(32));
  const size = elf.readUInt16LE(54);
  const count = elf.readUInt16LE(56);
  return Array.from({ length: count }, (_, index) => ({
    type: elf.readUInt32LE(start + index * size),
    flags: elf.readUInt32LE(start + index * size + 4),
  }));
}

describe.each([COMPILED, AARCH64])("the agent's file, $name", ({ command }) => {
  const path = command.at(-1) ?? "";

  it("is one static position-independent file of less than 1 MB, hardened", ({ expect }) => {
    const elf = readFileSync(path);
    expect(elf.length).toBeLessThan(1_000_000);
    expect(elf.readUInt16LE(16)).toBe(ET_DYN);
    const headers = programHeaders(elf);
    const types = headers.map(({ type }) => type);
    expect(types).toContain(PT_GNU_RELRO);
    expect(types).not.toContain(PT_INTERP);
    expect(headers.filter(({ type, flags }) => type === PT_GNU_STACK && (flags & EXECUTABLE) !== 0)).toEqual([]);
    const both = EXECUTABLE | WRITABLE;
    expect(headers.filter(({ type, flags }) => type === PT_LOAD && (flags & both) === both)).toEqual([]);
    expect(statSync(path).mode & 0o111).toBe(0o111);
  });

  describe("as a process", () => {
    let guest: GuestNamespace;
    let host: HostPeer;
    let from: string;

    beforeEach(async () => {
      const made = await guestAndHost();
      ({ guest, host, from } = made);
      return made.close;
    });

    it("installs a bundle", async ({ expect }) => {
      host.set(file("a", "value", { mode: "0440", user: 7 }), env("b", "B_TOKEN", "b"));
      expect((await guest.run([...command, "sync", "--from", from])).stdout).toBe("2 secrets, revision e1.g1.1\n");
      host.set(file("a", "value", { mode: "0440", user: 7 }));
      await guest.run([...command, "sync", "--from", from]);
      expect(guest.listing("/run/hatchway/secrets")).toContain("440 7 0 5 a");
    });
  });
});

const entries = (last: string): Given[] =>
  Array.from({ length: 4096 }, (_, index) => file(`${index}`.padStart(100, "n"), index === 4095 ? last : "value"));

it("a bundle of the most entries is installed, and one of them changed", async ({ expect }) => {
  const guest = await GuestNamespace.open();
  const host = new HostPeer();
  const socket = join(guest.outside, "api");
  await host.listen(socket);
  host.set(...entries("before"));
  const sync = [...COMPILED.command, "sync", "--from", `unix:${socket}`];
  expect((await guest.run(sync)).stdout).toBe("4096 secrets, revision e1.g1.1\n");
  host.set(...entries("after"));
  expect((await guest.run(sync)).stdout).toBe("4096 secrets, revision e1.g1.2\n");
  expect(guest.listing("/run/hatchway/secrets")).toHaveLength(4096 + 3);
  await host.close();
  await guest.close();
});

it("the waiting agent takes at most 2 MB", async ({ expect }) => {
  const guest = await GuestNamespace.open();
  const host = new HostPeer();
  const socket = join(guest.outside, "api");
  await host.listen(socket);
  host.set(...Array.from({ length: 50 }, (_, index) => file(`secret-${index}`, Buffer.alloc(4000, index))));
  const child = guest.start([...COMPILED.command, "run", "--from", `unix:${socket}`]);
  const output = ended(child);
  for (const round of [1, 2, 3]) {
    await host.receipt(({ revision }) => revision === `e1.g1.${round}`);
    host.set(...Array.from({ length: 50 }, (_, index) => file(`secret-${index}`, Buffer.alloc(4000, index + round))));
  }
  await host.receipt(({ revision }) => revision === "e1.g1.4");
  const status = readFileSync(`/proc/${child.pid ?? 0}/status`, "utf8");
  expect(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1])).toBeLessThanOrEqual(2_000);
  child.kill("SIGTERM");
  expect((await output).code).toBe(0);
  await host.close();
  await guest.close();
});
