import { it } from "vitest";
import { hasSwap, mountOf } from "#agent/mounts";
import { changedEntries } from "#agent/onchange";
import { parseAccounts } from "#agent/owner";
import { encodeReceipt, MAX_RECEIPT, type Receipt } from "#agent/receipt";
import { EchoFinder } from "#agent/resync";
import type { Manifest } from "#protocol/manifest";

it("the mount of a path is the longest above it, of equals the last", ({ expect }) => {
  const info = [
    "21 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw",
    "25 21 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1k",
    "90 25 0:50 / /run/hatchway rw - ramfs old rw",
    "91 25 0:51 / /run/hatchway rw,nosuid master:2 shared:9 - tmpfs hatchway rw,size=2k,noswap",
    "93 25 0:53 / /run/share ro,nosuid - 9p share rw",
    "94 25 0:54 / /run/disk rw - erofs /dev/vda ro",
    "92 25 0:52 / /run/with\\040space rw - tmpfs t rw",
    "",
  ].join("\n");
  expect(mountOf(info, "/run/hatchway")).toEqual({
    point: "/run/hatchway",
    type: "tmpfs",
    options: ["rw", "size=2k", "noswap"],
    readOnly: false,
  });
  expect(mountOf(info, "/run/hatchway-not")?.point).toBe("/run");
  expect(mountOf(info, "/run/with space/x")?.point).toBe("/run/with space");
  expect(mountOf(info, "/run/share")?.readOnly).toBe(true);
  expect(mountOf(info, "/run/disk")?.readOnly).toBe(true);
  expect(mountOf(info, "/srv")?.type).toBe("ext4");
});

it("swap is what /proc/swaps lists below its heading", ({ expect }) => {
  const heading = "Filename\t\t\t\tType\t\tSize\n";
  expect(hasSwap(heading)).toBe(false);
  expect(hasSwap(`${heading}/dev/vda2 partition 1\n`)).toBe(true);
});

it("accounts are read by their first line, broken lines passed over", ({ expect }) => {
  const table = parseAccounts("root:x:0:0::/root:/bin/sh\n# note\nbad:x:-1:\nweb:x:33:33:\nweb:x:34:34:\nno-id:x\n");
  expect([...table]).toEqual([
    ["root", 0],
    ["web", 33],
  ]);
});

it("a receipt keeps within its limit and prints nothing that it should not", ({ expect }) => {
  const refused = Array.from({ length: 500 }, (_, index) => ({
    name: `secret-${index}`,
    reason: "a\u001b reason ".repeat(40),
  }));
  const receipt: Receipt = { outcome: "applied", refused, mount: "tmpfs", agent: "0.1.0", boot: "b" };
  const body = encodeReceipt(receipt);
  const read = JSON.parse(Buffer.from(body).toString()) as Receipt;
  expect(body.length).toBeLessThanOrEqual(MAX_RECEIPT);
  expect(read.refused.length).toBeGreaterThan(10);
  expect(read.refused[0]?.reason).toBe("a? reason ".repeat(20));
});

it("an echo is found behind anything that came before it", ({ expect }) => {
  const opening = Buffer.from(`\0${"0123456789abcdef".repeat(2)}\n`);
  const other = Buffer.from(`\0${"0".repeat(32)}\n`);
  const befores = [
    [],
    [0],
    [0, 0, 0],
    [...opening.subarray(0, 20)],
    [...other],
    [...Buffer.from("HTTP/1.1 200 OK\r\n\r\n\0abc")],
  ];
  for (const before of befores) {
    const finder = new EchoFinder(opening);
    const found = [...before, ...opening].map((byte) => finder.push(byte));
    expect(found.indexOf(true)).toBe(before.length + opening.length - 1);
  }
  const finder = new EchoFinder(opening);
  expect([...other, ...opening.subarray(0, 33)].some((byte) => finder.push(byte))).toBe(false);
});

const entry = (name: string, version: number, acts = true): Manifest["entries"][number] => ({
  name,
  version,
  size: 1,
  env: name,
  ...(acts && { onChange: { reload: "web.service" } }),
});
const manifest = (...entries: Manifest["entries"]): Manifest => ({
  format: 1,
  vm: "v",
  revision: "r",
  mountRoot: "/m",
  entries,
});

it("entries act on a change when their version is new, and not otherwise", ({ expect }) => {
  const before = manifest(entry("same", 1), entry("changed", 1), entry("quiet", 1, false), entry("gone", 1));
  const after = manifest(entry("same", 1), entry("changed", 2), entry("quiet", 2, false), entry("new", 1));
  expect(changedEntries(before, after).map(({ name }) => name)).toEqual(["changed", "new"]);
});
