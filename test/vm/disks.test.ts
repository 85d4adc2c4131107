// Disks as sources of the agent in a real guest: the same bundles as everywhere, whole and damaged, on one disk with many
// partitions beside the read-only one that the host gives; and disks that somebody else has brought.
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { ErofsImage } from "#bundle/erofs";
import { encodeBundle, type ImageFormat } from "#bundle/image";
import { sealImage } from "#bundle/sealed";
import { imageTree, type ImageFile } from "#bundle/tree";
import { firmwareWord } from "#channel/firmware-word";
import { ageFile, ageKeyText } from "#test/kit/age-cases";
import { goodCases, manifestText } from "#test/kit/bundle-cases";
import { caseBundle, imageOf, isWhole } from "#test/kit/case-bundle";
import { partitionedDisk } from "#test/kit/gpt";
import { GuestMachine, machineFolder, nobody } from "#test/kit/guest";
import { installedLines, lookAt } from "#test/kit/installed";
import type { Bundle } from "#bundle";

const good = goodCases()
  .filter(isWhole)
  .filter(({ files = [] }) => files.every(({ owner }) => owner === ""));
const rich = good.find(({ file }) => file === "good-block-sizes.tar");
const other = good.find(({ file }) => file === "good-binary.tar");
if (!rich || !other) throw new Error("there is no such vector");

const formats = [{ format: "EROFS" }, { format: "ISO" }];

interface Partition {
  label: string;
  image: Buffer;
}

async function labelled(bundle: Bundle, format: ImageFormat, label: string): Promise<Partition> {
  const encoding = encodeBundle(bundle, format, label);
  const pieces: Uint8Array[] = [];
  await encoding.writeTo(async (bytes) => void pieces.push(Uint8Array.from(bytes)));
  return { label, image: Buffer.concat(pieces) };
}

type Named = [path: string, content: string, change?: Partial<ImageFile>];

/** An image that no bundle gives. */
async function odd(label: string, files: readonly Named[]): Promise<Partition> {
  const contents = new Map(files.map(([path, content]) => [path, Buffer.from(content)]));
  const plain = files.map(([path, content, change]) =>
    Object.assign({ path, mode: 0o600, uid: 0, gid: 0, mtime: 0, size: content.length }, change),
  );
  const pieces: Uint8Array[] = [];
  await new ErofsImage(imageTree(plain, Buffer.alloc(16)), label).writeTo(
    async ({ path }) => Uint8Array.from(contents.get(path) ?? []),
    async (bytes) => void pieces.push(Uint8Array.from(bytes)),
  );
  return { label, image: Buffer.concat(pieces) };
}

const entry = { name: "db", version: 1, size: 4, path: "db", mode: "0600", uid: 0, gid: 0 };
const manifest: Named = [".hatchway/manifest.json", manifestText([entry], { revision: "e1.1.8" })];
const hostile: [files: Named[], refusal: string][] = [
  [[manifest, ["db", "four"], ["extra", "file"]], "holds what the manifest does not name"],
  [[manifest, ["db", "four"], ["d/extra", "file"]], "holds what the manifest does not name"],
  [[manifest], 'cannot read "db" of the source: open db: no such file'],
  [[manifest, ["db", "four", { mode: 0o640 }]], '"db" is not as the manifest says'],
  [[manifest, ["db", "four", { mode: 0o4600 }]], '"db" is not as the manifest says'],
  [[manifest, ["db", "four", { uid: 1 }]], '"db" is not as the manifest says'],
  [[manifest, ["db", "four", { gid: 1 }]], '"db" is not as the manifest says'],
  [[manifest, ["db", "fours"]], '"db" is not as the manifest says'],
  [[manifest, ["db", "for"]], '"db" is not as the manifest says'],
  [[manifest, ["db/x", "four"]], '"db" is not as the manifest says'],
  [[["db", "four"]], 'cannot read ".hatchway/manifest.json" of the source'],
  [
    [
      [".hatchway/manifest.json", `${manifest[1]} `],
      ["db", "four"],
    ],
    "manifest: ",
  ],
  [
    [
      [".hatchway/manifest.json", ""],
      ["db", "four"],
    ],
    "manifest: ",
  ],
  [[[".hatchway/manifest.json/x", "x"]], "manifest.json"],
];

/** What is in force. */
const LOOK = lookAt("/run/hatchway/secrets");

describe("the agent of a guest with disks", () => {
  let guest: GuestMachine;
  /** The partition that is sealed to the key in SMBIOS. */
  let sealedDisk: string;
  const sync = async (from: string): Promise<string> => {
    const { code, output } = await guest.run(`hatchway-agent sync ${from} 2>&1`);
    return `${code} ${output.toString()}`;
  };

  beforeAll(async () => {
    const directory = machineFolder(nobody);
    const path = join(directory, "disk.img");
    const partitions = [
      ...(await Promise.all(good.map((each, at) => labelled(caseBundle(each), "erofs", `EROFS-${at}`)))),
      ...(await Promise.all(good.map((each, at) => labelled(caseBundle(each), "iso", `ISO-${at}`)))),
      ...(await Promise.all(hostile.map(([files], at) => odd(`BAD-${at}`, files)))),
      await labelled(caseBundle(other), "erofs", "TWICE"),
      await labelled(caseBundle(other), "iso", "TWICE"),
      { label: "DAMAGED", image: damaged(await labelled(caseBundle(other), "erofs", "DAMAGED")) },
      {
        label: "HATCHWAY",
        image: await sealImage(encodeBundle(caseBundle(other), "tar"), "tar", async (tar) => ageFile(Buffer.from(tar))),
      },
    ];
    sealedDisk = `/dev/vda${partitions.length}`;
    writeFileSync(path, partitionedDisk(partitions.map(({ image }) => image)), { mode: 0o600 });
    chownSync(path, nobody.uid, nobody.gid);
    const secretsDisk = await imageOf(caseBundle(rich), "squashfs");
    const firmware = [firmwareWord("smbios", "key", Buffer.from(ageKeyText().split("\n")[1] ?? ""))];
    guest = await GuestMachine.launch({ directory, disk: { path, format: "raw" }, secretsDisk, firmware });
    await guest.output("for one in libcrc32c erofs squashfs cdrom isofs; do insmod /lib/modules/$one.ko; done");
  });
  afterAll(() => guest[Symbol.asyncDispose]());

  it("finds the host's disk by itself, whatever another one is called", async ({ expect }) => {
    // Nothing that answers may be there.
    await guest.output("mount -t tmpfs none /sys/class/virtio-ports && rm /dev/vsock");
    expect(await sync("")).toBe(`0 4 secrets, revision ${caseBundle(rich).manifest.revision}\n`);
    expect(await guest.output("hatchway-agent status | head -1")).toBe("source    serial:HATCHWAY\n");
    expect(await guest.output(LOOK)).toBe(`${installedLines(rich).join("\n")}\n`);
    expect(await guest.output("cat /proc/mounts")).not.toMatch(/squashfs|erofs/);
  });

  it.for(formats)(
    "installs each good bundle with its bytes, modes and owners from $format",
    async ({ format }, { expect }) => {
      const script = good.map(
        (_, at) =>
          `rm -rf /run/hatchway/secrets; hatchway-agent sync --from label:${format}-${at} 2>&1 >/dev/null | grep -v '^refused .*link'; echo ${at}; ${LOOK}`,
      );
      const lines = good.flatMap((vector, at) => [`${at}`, ...installedLines(vector)]);
      const seen = await guest.output(script.join("\n"));
      expect(seen.trimEnd().split("\n")).toEqual(lines);
    },
  );

  it("refuses each that is not as its manifest says, and keeps what it has", async ({ expect }) => {
    await guest.output("rm -rf /run/hatchway/secrets");
    await sync("--from serial:HATCHWAY");
    for (const [at, [, refusal]] of hostile.entries()) {
      const said = await sync(`--from label:BAD-${at}`);
      expect(said, `BAD-${at}`).toMatch(/^1 error: /);
      expect(said, `BAD-${at}`).toContain(refusal);
    }
    expect(await sync("--from label:DAMAGED")).toMatch(/^1 error: .*(?:cannot mount|cannot read|damaged|manifest)/);
    expect(await guest.output(LOOK)).toBe(`${installedLines(rich).join("\n")}\n`);
  });

  it("opens what is sealed to the key that SMBIOS has, from a disk, a file and a share", async ({ expect }) => {
    const { revision } = caseBundle(other).manifest;
    const installed = `0 1 secret, revision ${revision}\n`;
    await guest.output("rm -rf /run/hatchway/secrets");
    expect(await sync("--from label:HATCHWAY")).toBe(installed);
    expect(await guest.output(LOOK)).toBe(`${installedLines(other).join("\n")}\n`);
    await guest.output(`rm -rf /run/hatchway/secrets; mkdir /run/sealed; cat ${sealedDisk} >/run/sealed/bundle.age`);
    expect(await sync("--from file:/run/sealed/bundle.age")).toContain("should be root's alone, 0600");
    await guest.output("chmod 600 /run/sealed/bundle.age");
    expect(await sync("--from dir:/run/sealed")).toBe(installed);
    expect(await guest.output(LOOK)).toBe(`${installedLines(other).join("\n")}\n`);
    expect(await guest.output("stat -c '%a %u' /sys/firmware/dmi/entries/11-0/raw")).toBe("400 0\n");
  });

  it("refuses two disks with one label, and says what there is when there is none", async ({ expect }) => {
    expect(await sync("--from label:TWICE")).toMatch(
      /^1 error: disks "vda\d+" and "vda\d+" both have the label "TWICE": only one is the host's\n$/,
    );
    expect(await sync("--from label:NOBODY")).toMatch(/^1 error: no disk of this guest has the label "NOBODY" \(vda, /);
    expect(await sync("--from serial:NOBODY")).toContain('no disk of this guest has the serial "NOBODY"');
  });

  it("takes a writable disk that somebody has labelled only when it is named", async ({ expect }) => {
    await guest.output(
      'echo 1 >"$(readlink -f /sys/class/block/vdb/device/..)/remove"; test ! -e /sys/class/block/vdb',
    );
    expect(await sync("")).toContain('1 error: no way to a host: no virtio-serial port "org.hatchway.0"');
    expect(await sync("--from serial:HATCHWAY")).toContain('no disk of this guest has the serial "HATCHWAY"');
    await guest.output("rm -rf /run/hatchway/secrets");
    expect(await sync("--from label:HATCHWAY")).toContain("1 secret, revision ");
  });

  it("lets nobody but root ask", async ({ expect }) => {
    const said = await guest.run("su app -c 'hatchway-agent sync --from label:HATCHWAY'");
    expect([said.code, said.output.toString()]).toEqual([1, "error: hatchway-agent must run as root\n"]);
  });

  it("never takes a disk in place of what a live host has brought", async ({ expect }) => {
    const status = "/run/hatchway/.agent/status.json";
    await guest.output(`sed -i 's/"source":"[^"]*"/"source":"virtio-serial:org.hatchway.0"/' ${status}`);
    expect(await sync("--from label:HATCHWAY")).toBe(
      "1 error: this guest has its secrets by virtio-serial:org.hatchway.0: label:HATCHWAY cannot replace them before it has rebooted\n",
    );
  });
});

/** Everything behind the superblock is something else. */
function damaged({ image }: Partition): Buffer {
  return Buffer.concat([image.subarray(0, 4_096), Buffer.alloc(image.length - 4_096, 0xa5)]);
}
