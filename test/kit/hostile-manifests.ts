// The hostile bundle vectors whose frame is right and whose manifest is not.
import { manifestFile, manifestText, type BundleCase } from "#test/kit/bundle-cases";
import { tarArchive } from "#test/kit/tar";

const FILE = { name: "a", version: 1, size: 5, path: "a", mode: "0600", uid: 0, gid: 0 };
const ENV = { name: "a", version: 1, size: 5, env: "A" };
const fileAt = (name: string, path: string, link?: string): Record<string, unknown> =>
  Object.assign({}, FILE, { name, path }, link === undefined ? {} : { link });
const quoted = (value: string): string => JSON.stringify(value.slice(0, 40));
const many = (count: number, size: number): unknown[] =>
  Array.from({ length: count }, (_, at) => ({ name: `n${at}`, version: 1, size, env: `N${at}` }));
const PLAIN = manifestText([FILE]);

function refused(file: string, rule: string, about: string, text: string): BundleCase {
  return { file: `bad-manifest-${file}.tar`, outcome: "refused", rule, about, bytes: tarArchive(manifestFile(text)) };
}

function entryCase(file: string, rule: string, about: string, ...entries: unknown[]): BundleCase {
  return refused(file, rule, about, manifestText(entries));
}

/** The plain manifest with some of its text replaced. */
function textCase(file: string, rule: string, about: string, from: string, to: string): BundleCase {
  return refused(
    file,
    rule,
    about,
    PLAIN.replace(from, () => to),
  );
}

function jsonCases(): BundleCase[] {
  const canonical = "is not canonical";
  return [
    textCase("duplicate-key", 'duplicate key "vm"', "a key twice", '"vm":"web-1"', '"vm":"web-1","vm":"web-2"'),
    textCase("duplicate-entry-key", 'duplicate key "uid"', "an entry's key twice", '"uid":0', '"uid":0,"uid":1'),
    textCase(
      "duplicate-escaped",
      'duplicate key "uid"',
      "one key twice, once escaped",
      '"uid":0',
      String.raw`"uid":0,"\u0075id":1`,
    ),
    textCase("proto-top", 'unknown key "__proto__"', "__proto__ in the manifest", '"vm"', '"__proto__":{},"vm"'),
    textCase("proto-entry", 'unknown key "__proto__"', "__proto__ in an entry", '"uid"', '"__proto__":{"uid":1},"uid"'),
    textCase("unknown-key", 'unknown key "extra"', "an unknown key", '"vm"', '"extra":1,"vm"'),
    textCase("unknown-entry-key", 'unknown key "value"', "a value in the manifest", '"uid"', '"value":"x","uid"'),
    textCase("float", "numbers are integers", "a size of 5.0", '"size":5', '"size":5.0'),
    textCase("exponent", "numbers are integers", "a size of 5e0", '"size":5', '"size":5e0'),
    textCase(
      "number-huge",
      "numbers are integers",
      "a version of 20 digits",
      '"version":1',
      '"version":18446744073709551617',
    ),
    textCase(
      "number-unsafe",
      "version: not an integer",
      "a version of 2^53",
      '"version":1',
      '"version":9007199254740992',
    ),
    textCase("number-minus-zero", canonical, "a uid of -0", '"uid":0', '"uid":-0'),
    textCase("number-leading-zero", "numbers are integers", "a size of 05", '"size":5', '"size":05'),
    textCase("space", canonical, "a space between tokens", '"vm":', '"vm": '),
    textCase("escape", canonical, "an escape that could be a plain letter", '"web-1"', String.raw`"\u0077eb-1"`),
    textCase("key-order", canonical, "keys in another order", '"uid":0,"gid":0', '"gid":0,"uid":0'),
    textCase("tab", "is not printable ascii", "a tab between tokens", '"vm":', '"vm":\t'),
    textCase("latin1", "is not printable ascii", "a letter that is not ascii", "web-1", "w\u00e9b"),
    textCase("nul", "is not printable ascii", "a NUL in a string", "web-1", "web\0"),
    textCase(
      "key-control",
      "a key must be printable ascii",
      "an escape code in a key",
      '"vm"',
      String.raw`"\u001b[2J":1,"vm"`,
    ),
    textCase("bad-escape", "bad escape in a string", "an escape that JSON lacks", "web-1", String.raw`web\x31`),
    refused("pretty", canonical, "line breaks and indentation", JSON.stringify(JSON.parse(PLAIN), undefined, 1)),
    refused("newline", canonical, "a line break at the end", `${PLAIN}\n`),
    refused("bom", "byte 0 is not printable ascii", "a byte order mark", `\u00ef\u00bb\u00bf${PLAIN}`),
    refused("after", "something follows the value", "a second value", `${PLAIN}{}`),
    refused("cut", 'expected "," or "}"', "its last byte missing", PLAIN.slice(0, -1)),
    refused("deep", "nested deeper than 8", "400 arrays in each other", "[".repeat(400)),
    refused("not-json", "expected a value", "no JSON", "format: 1"),
    refused("array", "not an object", "an array", "[]"),
    refused("null", "not an object", "null", "null"),
  ];
}

function topCases(): BundleCase[] {
  const top = (file: string, rule: string, about: string, change: Record<string, unknown>): BundleCase =>
    refused(file, rule, about, manifestText([FILE], change));
  return [
    top("format", "format is not 1", "format 2", { format: 2 }),
    top("format-string", "format is not 1", 'format "1"', { format: "1" }),
    top("vm", "is not a vm name", "a VM name with a slash", { vm: "../web" }),
    top("revision", "is not a revision", "a revision with a quote", { revision: '"' }),
    top("root-relative", "is not absolute", "a relative mount root", { mountRoot: "run/secrets" }),
    top("root-own", "hatchway's own", "a mount root in hatchway's folder", { mountRoot: "/run/hatchway/env" }),
    top("root-traversal", "has the component", "a mount root with ..", { mountRoot: "/run/../etc" }),
    refused("entries-object", "entries is not an array", "entries as an object", manifestText({ 0: FILE })),
    refused("entries-absent", "entries is not an array", "no entries", manifestText(undefined)),
  ];
}

function fieldCases(): BundleCase[] {
  const component = "has the component";
  const grammar = "is not a path";
  const paths: [path: string, rule: string][] = [
    ["../x", component],
    ["/abs", grammar],
    ["a/../b", component],
    ["a/..", component],
    ["a//b", grammar],
    ["./a", component],
    ["a/", grammar],
    ["", grammar],
    ["a b", grammar],
    ["a\\b", grammar],
    ["a/b/c/d/e/f/g/h/i", "at most 8"],
    [`${"a".repeat(50)}/${"b".repeat(100)}`, "at most 150"],
    ["a".repeat(101), grammar],
    [".hatchway", "which belongs to hatchway"],
    [".hatchway/manifest.json", "which belongs to hatchway"],
    ["a\u001b[2J", "is not printable ascii"],
    ["a\u0000", "is not printable ascii"],
  ];
  const links: [link: string, rule: string][] = [
    ["etc/x", "is not absolute"],
    ["/etc/../x", component],
    ["/", grammar],
    ["/run/hatchway/secrets/a", "hatchway's own"],
    ["/run", "collides with the mount root"],
  ];
  const variables: [env: string, rule: string][] = [
    ["LD_PRELOAD", "would change how programs are loaded"],
    ["PATH", "would change how programs are loaded"],
    ["BASH_ENV", "would change how programs are loaded"],
    ["A=B", "is not an environment variable's name"],
    ["1A", "is not an environment variable's name"],
    ["A\nB", "is not printable ascii"],
  ];
  return [
    ...paths.map(([path, rule], at) => entryCase(`path-${at}`, rule, `the path ${quoted(path)}`, { ...FILE, path })),
    ...links.map(([link, rule], at) => entryCase(`link-${at}`, rule, `the link ${quoted(link)}`, { ...FILE, link })),
    ...variables.map(([env, rule], at) => entryCase(`env-${at}`, rule, `the variable ${quoted(env)}`, { ...ENV, env })),
    entryCase("name", "is not a secret name", "a name with a slash", { ...FILE, name: "a/b" }),
    entryCase("name-control", "is not printable ascii", "a name with an escape code", { ...FILE, name: "a\u001b[2J" }),
    textCase("name-unicode", "is not printable ascii", "a name with a direction mark", '"a"', String.raw`"a\u202e"`),
    entryCase("mode-number", "mode: not a string", "a mode as a number", { ...FILE, mode: 600 }),
    entryCase("mode-setuid", "is not a mode", "a set-uid mode", { ...FILE, mode: "4755" }),
    entryCase("mode-short", "is not a mode", "a mode of three digits", { ...FILE, mode: "600" }),
    entryCase("uid-large", "is not a uid or gid", "a uid over seven octal digits", { ...FILE, uid: 2_097_152 }),
    entryCase("uid-negative", "not an integer", "a uid of -1", { ...FILE, uid: -1 }),
    entryCase("uid-string", "not an integer", "a uid as a string", { ...FILE, uid: "0" }),
    entryCase("uid-and-owner", "exactly one of uid and owner", "uid and owner", { ...FILE, owner: "root" }),
    entryCase("owner-32", "is not a user name", "an owner of 32 bytes", {
      ...ENV,
      path: "a",
      mode: "0600",
      owner: "o".repeat(32),
      gid: 0,
    }),
    entryCase("size-large", "size: not an integer from 0 to 1048576", "a value over 1 MiB", {
      ...FILE,
      size: 1_048_577,
    }),
    entryCase("size-negative", "size: not an integer", "a size of -1", { ...FILE, size: -1 }),
    entryCase("no-target", "neither path nor env", "neither file nor variable", { name: "a", version: 1, size: 5 }),
    entryCase("mode-without-path", "mode without path", "a mode of a variable", { ...ENV, mode: "0600" }),
    entryCase("on-change", "not one of reload", "an unknown reaction", { ...FILE, onChange: { shell: "reboot" } }),
    entryCase("on-change-unit", "unit's full name", "a unit that is an option", {
      ...FILE,
      onChange: { reload: "--help" },
    }),
    entryCase("on-change-exec", "is not absolute", "a command by its name", { ...FILE, onChange: { exec: ["sh"] } }),
    entryCase("entry-null", "not an object", "an entry that is null", null),
  ];
}

function setCases(): BundleCase[] {
  return [
    entryCase("same-name", 'secret "a" is there twice', "one name twice", FILE, { ...FILE, path: "b" }),
    entryCase("same-path", 'path "x" is there twice', "one path twice", fileAt("a", "x"), fileAt("b", "x")),
    entryCase("same-env", 'variable "A" is there twice', "one variable twice", ENV, { ...ENV, name: "b" }),
    entryCase(
      "same-link",
      'link "/etc/x" is there twice',
      "one link twice",
      fileAt("a", "a", "/etc/x"),
      fileAt("b", "b", "/etc/x"),
    ),
    entryCase("file-under-file", "lies under the file", "a file under a file", fileAt("a", "x"), fileAt("b", "x/y")),
    entryCase("file-over-file", "lies under the file", "a file over a file", fileAt("a", "x/y/z"), fileAt("b", "x")),
    entryCase(
      "link-under-link",
      "lies under the link",
      "a link under a link",
      fileAt("a", "a", "/etc/x"),
      fileAt("b", "b", "/etc/x/y"),
    ),
    entryCase("entries-many", "4097 entries, more than 4096", "one entry too many", ...many(4_097, 0)),
    entryCase("values-large", "more than 64 MiB", "65 values of 1 MiB", ...many(65, 1_048_576)),
  ];
}

export function hostileManifests(): BundleCase[] {
  return [...jsonCases(), ...topCases(), ...fieldCases(), ...setCases()];
}
