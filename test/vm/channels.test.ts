// One suite for every way into a guest: the same good and hostile bundles, into a real guest, compared by byte, mode and
// owner; and the faults that all of them have.
//
// A channel is a row of ROADS. It says what the agent calls it, and how the next bundle is put on it: bytes that a host
// sends (HostPeer is the other end of the guest API), or that lie in the guest's machine. What a row needs of the machine
// goes into `devices` below, and what only one channel can do wrong has a test of its own: claims in vsock.test.ts,
// garbage and foreign requests in two-vms.test.ts, a thousand connections in test/system/guest-limits.test.ts, two disks of
// one label in disks.test.ts. The firmware is written before a boot, so that it has a sample, at the end.
//
// By default one hostile vector of thirty, and all good ones; HATCHWAY_CHANNEL_VECTORS=all takes all.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { ErofsImage } from "#bundle/erofs";
import { sealImage } from "#bundle/sealed";
import { imageTree } from "#bundle/tree";
import { generateAgeKey } from "#keygen/age-identity";
import type { BundleCase } from "#test/kit/bundle-cases";
import { isWhole } from "#test/kit/case-bundle";
import { GuestMachine } from "#test/kit/guest";
import { installedLines, lookAt } from "#test/kit/installed";
import { file, HostPeer } from "#test/kit/host-peer";
import { bundleVectors } from "#test/kit/vectors";
import { VsockGuest } from "#test/kit/vsock-guest";
import { ageSeal } from "#vault/age";

/** What is in force. */
const LOOK = lookAt("/run/hatchway/secrets");
const all = bundleVectors();
/** Users that the guest does not have are a fault of their own. */
const good = all.filter(isWhole).filter(({ files = [] }) => files.every(({ owner, group }) => owner + group === ""));
const refused = all
  .filter(({ outcome }) => outcome === "refused")
  .filter((_, at) => process.env["HATCHWAY_CHANNEL_VECTORS"] === "all" || at % 30 === 0);

interface Road {
  name: string;
  /** `--from` of the agent, and what it needs besides. */
  source: (vector: BundleCase) => string;
  /** Where a host answers, whose next bundle this is. */
  host?: HostPeer;
  /** Ends what carries its answer, where an answer alone can't be broken off. */
  hangUp?: () => void;
  /** So many of each are enough: to open what is sealed takes an emulated machine a second. */
  some?: number;
  /** A command by which a user that is not root would read it in the guest. */
  theft: string;
}

const [overVsock, overSerial] = [new HostPeer(), new HostPeer()];
/** QEMU's connections to the virtio-serial port's host end. */
const ports: Socket[] = [];
const ROADS: readonly Road[] = [
  // First: nothing that lies in a guest takes the place of what a live host has brought.
  {
    name: "a sealed file on a disk",
    source: (vector) => `file:/vectors/sealed-${vector.file} --key-file /vectors/key`,
    theft: "cat /vectors/key",
    some: 3,
  },
  { name: "a file on a disk", source: (vector) => `file:/vectors/${vector.file}`, theft: "cat /dev/vda" },
  {
    name: "virtio-serial",
    source: () => "virtio-serial:org.hatchway.0",
    host: overSerial,
    hangUp: () => ports.splice(0).forEach((socket) => socket.destroy()),
    theft: "for port in /dev/vport*; do cat $port && exit; done; exit 1",
  },
  // Whoever is not root may connect: that he gets nothing is in vsock.test.ts.
  { name: "vsock", source: () => "vsock:2:5107", host: overVsock, theft: "cat /dev/vsock" },
];

/** A file system with all vectors that are used, each as it is and sealed, and the key. */
async function vectorDisk(): Promise<Buffer> {
  const { identity, recipient } = generateAgeKey();
  const byPath = new Map([["key", identity]]);
  for (const { file: path, bytes } of [...good, ...refused]) {
    const tar = { size: bytes.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(bytes) };
    byPath.set(path, bytes);
    byPath.set(`sealed-${path}`, await sealImage(tar, "tar", (plaintext) => ageSeal(recipient, plaintext)));
  }
  const files = [...byPath].map(([path, bytes]) => {
    return { path, mode: 0o600, uid: 0, gid: 0, mtime: 0, size: bytes.length };
  });
  const pieces: Uint8Array[] = [];
  await new ErofsImage(imageTree(files, Buffer.alloc(16)), "VECTORS").writeTo(
    async ({ path }) => Uint8Array.from(byPath.get(path) ?? []),
    async (bytes) => void pieces.push(Uint8Array.from(bytes)),
  );
  return Buffer.concat(pieces);
}

let folder: string;
let guest: VsockGuest;
let port: Server;
/** The machine's, beside its vsock. */
let devices: string[];

beforeAll(async () => {
  folder = mkdtempSync("/dev/shm/hwc.");
  const [uds, serial, disk] = ["v", "serial", "disk"].map((name) => join(folder, name));
  await overVsock.listen(`${uds}_5107`);
  port = createServer((socket) => {
    ports.push(socket.on("error", () => socket.destroy()));
    overSerial.serveSerial(socket);
  }).listen(serial);
  writeFileSync(disk ?? "", await vectorDisk(), { mode: 0o600 });
  devices = [
    ["-chardev", `socket,id=agent,path=${serial},reconnect=1`],
    ["-device", "virtserialport,chardev=agent,name=org.hatchway.0"],
    ["-drive", `file=${disk},format=raw,if=none,id=vectors,readonly=on`, "-device", "virtio-blk-pci,drive=vectors"],
  ].flat();
  guest = await VsockGuest.boot(uds ?? "", "hatchway.agent=off", devices);
  await guest.output(
    "for one in libcrc32c erofs; do insmod /lib/modules/$one.ko; done; mkdir /vectors && mount -t erofs -o ro /dev/vda /vectors",
  );
});

afterAll(async () => {
  await guest[Symbol.asyncDispose]();
  for (const host of [overVsock, overSerial]) await host.close();
  port.close();
  rmSync(folder, { recursive: true });
});

/** The agent's exit code, its words, and what is in force then. */
async function sync(from: string, flags = ""): Promise<{ code: string; words: string; set: string[] }> {
  const script = `hatchway-agent sync --from ${from} ${flags} 2>&1; echo $?; ${LOOK}`;
  const lines = (await guest.output(script)).trimEnd().split("\n");
  const at = lines.findIndex((line) => /^\d+$/.test(line));
  return { code: lines[at] ?? "", words: lines.slice(0, at).join("\n"), set: lines.slice(at + 1) };
}

describe.each(ROADS)("$name", ({ source, host, theft, some }) => {
  it("brings each good bundle, to the byte, mode and owner", async ({ expect }) => {
    for (const vector of good.slice(0, some)) {
      if (host) host.body = vector.bytes;
      // All vectors are of one revision, which who has it does not read again where nobody brings it anew.
      else await guest.output("rm -rf /run/hatchway/secrets");
      const { code, set } = await sync(source(vector));
      expect([vector.file, code]).toEqual([vector.file, "0"]);
      expect(set, vector.file).toEqual(installedLines(vector));
    }
  });

  it("refuses each hostile one by its rule, and keeps the set", async ({ expect }) => {
    const [first] = good;
    if (!first) throw new Error("there is no good vector");
    if (host) host.body = first.bytes;
    const { set: before } = await sync(source(first));
    for (const vector of refused.slice(0, some)) {
      if (host) host.body = vector.bytes;
      const { code, words, set } = await sync(source(vector));
      expect([vector.file, code]).toEqual([vector.file, "1"]);
      expect(words, vector.file).toContain(vector.rule);
      expect(set, vector.file).toEqual(before);
    }
  });

  it("gives nothing to who is not root", async ({ expect }) => {
    const [first] = good;
    if (!first) throw new Error("there is no good vector");
    const asked = await guest.run(`su app -c 'hatchway-agent sync --from ${source(first)}'`);
    expect([asked.code, asked.output.toString()]).toEqual([1, "error: hatchway-agent must run as root\n"]);
    expect((await guest.run(`su app -c '${theft}' 2>&1`)).code).not.toBe(0);
  });
});

describe.each(ROADS.flatMap((road) => (road.host ? [{ ...road, host: road.host }] : [])))("$name, live", (road) => {
  const { host, hangUp } = road;
  const from = road.source(all[0] as BundleCase);
  beforeAll(() => {
    host.body = undefined;
  });

  it("refuses alone what this guest has no owner for, and tells the host", async ({ expect }) => {
    host.set(
      file("a", "canary a"),
      file("b", "canary b", { user: "nobody-here" }),
      file("c", "canary c", { user: 1000 }),
    );
    const { code, set } = await sync(from);
    expect([code, set.map((line) => line.split(" ").slice(0, 3).join(" "))]).toEqual([
      "0",
      ["./a 600 0", "./c 600 1000"],
    ]);
    const { outcome, refused: why } = await host.receipt(({ revision }) => revision === host.revision);
    expect([outcome, why]).toEqual(["applied", [{ name: "b", reason: 'this guest has no user "nobody-here"' }]]);
  });

  it("keeps the old set where a new one has no room, and tells the host", async ({ expect }) => {
    await guest.output("mkdir -p -m 755 /small && mount -t tmpfs -o size=256k,mode=755 small /small");
    // Another root is another agent, as after a boot.
    host.claimed = undefined;
    host.set(file("a", "old"));
    expect((await sync(from, "--root /small --no-mount")).code).toBe("0");
    host.set(file("a", Buffer.alloc(1_000_000, "new")));
    const full = await sync(from, "--root /small --no-mount");
    expect([full.code, full.words]).toEqual(["1", expect.stringContaining("no space left")]);
    expect(await guest.output("cat /small/secrets/a")).toBe("old");
    expect((await host.receipt(({ revision }) => revision === host.revision)).outcome).toBe("failed");
    await guest.output("umount /small");
    host.claimed = undefined;
  });

  it("is whole after the host went away in the middle of an answer, and came back", async ({ expect }) => {
    host.set(file("a", "before"));
    await sync(from);
    host.set(file("a", Buffer.alloc(300_000, "after")));
    const asked = host.requests.length;
    host[hangUp ? "stallAfter" : "cutAfter"] = 100_000;
    const cut = sync(from);
    if (hangUp) {
      while (host.requests.length === asked) await new Promise((resolve) => setTimeout(resolve, 20));
      hangUp();
    }
    expect((await cut).code).toBe("1");
    expect(await guest.output("cat /run/hatchway/secrets/a")).toBe("before");
    host.cutAfter = undefined;
    host.stallAfter = undefined;
    // QEMU comes back within a second, and until then there is nobody.
    while ((await sync(from)).code !== "0");
    expect(await guest.output("wc -c </run/hatchway/secrets/a")).toBe("300000\n");
  });
});

describe("virtio-serial, whose stream outlives the guest", () => {
  it("is whole after a reboot in the middle of an answer", async ({ expect }) => {
    overSerial.set(file("a", Buffer.alloc(300_000, "half")));
    overSerial.stallAfter = 100_000;
    const asked = overSerial.requests.length;
    const gone = guest.run("hatchway-agent sync --from virtio-serial:org.hatchway.0").catch(String);
    while (overSerial.requests.length === asked) await new Promise((resolve) => setTimeout(resolve, 20));
    await guest.stop();
    await gone;
    overSerial.stallAfter = undefined;
    await guest.start("hatchway.agent=off", devices);
    while ((await sync("virtio-serial:org.hatchway.0")).code !== "0");
    expect(await guest.output("wc -c </run/hatchway/secrets/a")).toBe("300000\n");
  });
});

function found(name: string): BundleCase {
  const vector = all.find(({ file: path }) => path === name);
  if (!vector) throw new Error(`there is no vector ${name}`);
  return vector;
}

describe("the firmware", () => {
  const prefix = "io.systemd.credential.binary:hatchway.bundle=";
  it("brings a good bundle by SMBIOS and refuses a hostile one by fw_cfg, and gives nothing to who is not root", async ({
    expect,
  }) => {
    const hostile = refused.filter(({ bytes }) => bytes.length > 0 && bytes.length < 20_000)[1];
    if (!hostile) throw new Error("there is no small hostile vector");
    const rich = found("good-everything.tar");
    const firmware = [
      {
        kind: "fw-cfg" as const,
        name: "opt/io.systemd.credentials/hatchway.bundle",
        content: Buffer.from(hostile.bytes),
      },
      { kind: "smbios" as const, content: Buffer.from(prefix + rich.bytes.toString("base64")) },
    ];
    await using machine = await GuestMachine.launch({ firmware, append: "hatchway.agent=off" });
    for (const [source, vector] of [
      ["fw-cfg", hostile],
      ["smbios", rich],
    ] as const) {
      const ran = await machine.run(`hatchway-agent sync --from ${source} 2>&1`);
      const words = ran.output.toString();
      if (vector.outcome === "ok") {
        expect([source, ran.code]).toEqual([source, 0]);
        const set = (await machine.output(LOOK)).trimEnd().split("\n");
        expect(set, source).toEqual(installedLines(vector));
      } else expect([source, ran.code, words]).toEqual([source, 1, expect.stringContaining(vector.rule)]);
      expect((await machine.run(`su app -c 'hatchway-agent sync --from ${source}'`)).code).toBe(1);
    }
  });
});
