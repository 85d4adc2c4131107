// The hostile bundle vectors: bytes that a reader must refuse, each for one reason. Two values are behind most of them.
import { manifestFile, manifestText, type BundleCase } from "#test/kit/bundle-cases";
import { octal, tarArchive, tarFile, type RawHeader } from "#test/kit/tar";

const A = { name: "a", version: 1, size: 5, path: "a", mode: "0600", uid: 0, gid: 0 };
const B = { name: "b", version: 1, size: 3, path: "b/c", mode: "0440", owner: "app", group: "app" };
const AB = manifestFile(manifestText([A, B]));
const fileB: Partial<RawHeader> = { name: "b/c", mode: "0000440", uname: "app", gname: "app" };
const valueA = tarFile({ name: "a" }, "alpha");
/** The six digits of the right checksum. */
const sumOfA = valueA.toString("latin1", 148, 154);
const valueB = tarFile(fileB, "bet");

function refused(file: string, rule: string, about: string, bytes: Buffer): BundleCase {
  return { file: `bad-${file}.tar`, outcome: "refused", rule, about, bytes };
}

/** The first value's header with other fields. */
const headerCase = (file: string, rule: string, about: string, fields: Partial<RawHeader>): BundleCase =>
  refused(`header-${file}`, rule, about, tarArchive(AB, tarFile({ name: "a", ...fields }, "alpha"), valueB));

function headerCases(): BundleCase[] {
  const canonical = "is not canonical";
  const types: [type: string, name: string][] = [
    ["\0", "old regular file"],
    ["1", "hard link"],
    ["2", "symbolic link"],
    ["3", "character device"],
    ["4", "block device"],
    ["5", "directory"],
    ["6", "fifo"],
    ["7", "contiguous file"],
    ["x", "pax header"],
    ["g", "global pax header"],
    ["L", "GNU long name"],
    ["K", "GNU long link"],
    ["S", "GNU sparse file"],
    ["V", "GNU volume label"],
  ];
  return [
    ...types.map(([type, name], at) =>
      headerCase(`type-${at}`, "only regular files are accepted", `type flag of a ${name}`, { type, linkname: "b" }),
    ),
    headerCase("checksum", "wrong checksum", "a checksum that is wrong by one", {
      checksum: `${octal(Number.parseInt(sumOfA, 8) + 1, 7)}\0 `,
    }),
    headerCase("checksum-signed", "wrong checksum", "a checksum that ends in space and NUL", {
      checksum: `${sumOfA} \0`,
    }),
    headerCase("magic-gnu", "not a ustar header", "GNU tar's own magic", { magic: "ustar  \0" }),
    headerCase("magic-v7", "not a ustar header", "no magic, as in V7", { magic: "\0" }),
    headerCase("version", canonical, "another ustar version", { magic: "ustar\u000001" }),
    headerCase("size-base256", "is not printable ascii", "a size in base 256", {
      size: "\u0080\0\0\0\0\0\0\0\0\0\0\u0005",
    }),
    headerCase("uid-base256", "is not printable ascii", "a negative uid in base 256", { uid: "\u00ff".repeat(8) }),
    headerCase("octal-space", "is not an octal number", "a size with leading spaces", { size: "          5" }),
    headerCase("octal-short", canonical, "a size without leading zeros", { size: "5" }),
    headerCase("octal-wide", canonical, "a mode of eight digits, without NUL", { mode: "00000600" }),
    headerCase("octal-after", canonical, "digits after a mode's NUL", { mode: "000600\u00007" }),
    headerCase("octal-decimal", "is not an octal number", "a size with the digit 8", { size: "00000000008" }),
    headerCase("octal-empty", "is not an octal number", "an empty uid", { uid: "\0\0\0\0\0\0\0\0" }),
    headerCase("linkname", canonical, "a regular file with a link name", { linkname: "/etc/shadow" }),
    headerCase("device", canonical, "a regular file with a device number", { devmajor: "0000001" }),
    headerCase("tail", canonical, "bytes after the prefix", { tail: "x" }),
    headerCase("name-after", canonical, "a second name after the name's NUL", { name: "a\0b" }),
    headerCase("uname-32", "does not fit in 31 bytes", "an owner without NUL", { uname: "o".repeat(32) }),
    headerCase("name-control", "is not printable ascii", "an escape in a name", { name: "a\u001b[2J" }),
    headerCase("name-latin1", "is not printable ascii", "a name that is not ascii", { name: "\u00e9" }),
    refused(
      "header-prefix",
      canonical,
      "a short path split into prefix and name",
      tarArchive(AB, valueA, tarFile({ ...fileB, prefix: "b", name: "c" }, "bet")),
    ),
    refused(
      "pax-path",
      "only regular files are accepted",
      "a pax header that gives the next file another path",
      tarArchive(AB, tarFile({ name: "a", type: "x" }, "20 path=../../etc/x\n"), valueA, valueB),
    ),
    refused(
      "gnu-long-name",
      "only regular files are accepted",
      "a GNU long name that gives the next file another path",
      tarArchive(AB, tarFile({ name: "././@LongLink", type: "L" }, "../../etc/x\0"), valueA, valueB),
    ),
  ];
}

function disagreeingCases(): BundleCase[] {
  const disagrees = "disagrees with the manifest";
  const other = (file: string, about: string, fields: Partial<RawHeader>, content = "alpha", rule = disagrees) =>
    refused(file, rule, about, tarArchive(AB, tarFile({ name: "a", ...fields }, content), valueB));
  const absent = "is not in the manifest, or not in its order";
  return [
    other("differs-mode", "another mode than the manifest's", { mode: "0000644" }),
    other("differs-setuid", "a set-uid bit", { mode: "0004600" }),
    other("differs-uid", "another uid", { uid: "0001750" }),
    other("differs-gid", "another gid", { gid: "0001750" }),
    other("differs-owner", "an owner that the manifest does not name", { uname: "app" }),
    other("differs-size", "a longer value", {}, "alphabet"),
    other("differs-size-huge", "a size of 8 GiB less one", { size: "77777777777" }),
    ...["../x", "/abs", "a/../b", "a//b", "./a", "a/", "..", "A"].map((name, at) =>
      other(`differs-name-${at}`, `a file at ${JSON.stringify(name)}`, { name }, "alpha", absent),
    ),
    refused("order", absent, "values in another order", tarArchive(AB, valueB, valueA)),
    refused("value-twice", absent, "one value twice", tarArchive(AB, valueA, valueA, valueB)),
    refused("manifest-twice", absent, "two manifests", tarArchive(AB, AB, valueA, valueB)),
    refused("manifest-last", "its first file is not", "the manifest after the values", tarArchive(valueA, valueB, AB)),
  ];
}

function frameCases(): BundleCase[] {
  const whole = tarArchive(AB, valueA, valueB);
  const files = [AB, valueA, valueB];
  const soiled = (at: number): Buffer => {
    const copy = Buffer.from(whole);
    copy[at] = 1;
    return copy;
  };
  const first = "its first file is not";
  const text = manifestText([A, B]);
  return [
    refused("nothing", "ends in the middle", "no byte at all", Buffer.alloc(0)),
    refused("no-manifest", "no manifest", "two zero blocks", Buffer.alloc(1024)),
    refused("no-end", "ends in the middle", "no zero block", Buffer.concat(files)),
    refused("one-zero-block", "ends in the middle", "one zero block", Buffer.concat([...files, Buffer.alloc(512)])),
    refused(
      "zero-block-inside",
      "one zero block is not followed by another",
      "a zero block between files",
      tarArchive(AB, valueA, Buffer.alloc(512), valueB),
    ),
    refused("trailing-byte", "bytes after its end", "a byte after the end", Buffer.concat([whole, Buffer.alloc(1)])),
    refused("trailing-block", "bytes after its end", "a third zero block", Buffer.concat([whole, Buffer.alloc(512)])),
    refused("trailing-bundle", "bytes after its end", "a second bundle", Buffer.concat([whole, whole])),
    refused("padding-manifest", "padding that is not zero", "padding of the manifest", soiled(AB.length - 1)),
    refused("padding-value", "padding that is not zero", "first byte after a value", soiled(AB.length + 512 + 5)),
    refused("manifest-mode", first, "a manifest of mode 0644", tarArchive(manifestFile(text, { mode: "0000644" }))),
    refused("manifest-mtime", first, "a manifest with a time", tarArchive(manifestFile(text, { mtime: octal(1, 12) }))),
    refused("manifest-owner", first, "a manifest with an owner", tarArchive(manifestFile(text, { uname: "root" }))),
    refused(
      "manifest-elsewhere",
      first,
      "a manifest elsewhere",
      tarArchive(manifestFile(text, { name: "manifest.json" })),
    ),
    refused("manifest-empty", first, "a manifest of 0 bytes", tarArchive(manifestFile(""))),
    refused(
      "manifest-huge",
      first,
      "a manifest of 4 MiB and a byte, by its header",
      manifestFile(text, { size: octal(4_194_305, 12) }),
    ),
  ];
}

export function hostileCases(): BundleCase[] {
  return [...headerCases(), ...disagreeingCases(), ...frameCases()];
}
