import * as fc from "fast-check";
import { describe, it } from "vitest";
import { arbitraryManifest } from "#test/kit/arbitrary";
import { ProtocolError } from "./error.ts";
import { checkEntries, encodeManifest, parseManifest, type Manifest, type ManifestEntry } from "./manifest.ts";

const target = { mode: "0600", user: 0, group: 0 };
const top = { format: 1, vm: "web-1", revision: "e.1.2", mountRoot: "/run/hatchway/secrets" } as const;
const parse = (text: string): Manifest => parseManifest(Buffer.from(text, "latin1"));
const file = (name: string, path: string, link?: string): ManifestEntry => ({
  name,
  version: 1,
  size: 0,
  file: { path, ...target, ...(link !== undefined && { link }) },
});
/** A manifest of one entry, whose JSON is given. */
const one = (entry: string): string =>
  `{"format":1,"vm":"web-1","revision":"e.1.2","mountRoot":"/run/hatchway/secrets","entries":[${entry}]}`;

const on = (json: string): string => one(`{"name":"a","version":1,"size":0,"env":"A","onChange":${json}}`);
const links = (...paths: string[]): ManifestEntry[] => paths.map((link, at) => file(`n${at}`, `p${at}`, link));
const many = (count: number, size: number): ManifestEntry[] =>
  Array.from({ length: count }, (_, at) => ({ name: `n${at}`, version: 1, size, env: `V${at}` }));

describe("manifest", () => {
  it("reads back any manifest that it writes, from one encoding only", ({ expect }) => {
    fc.assert(
      fc.property(arbitraryManifest, (manifest) => {
        const bytes = encodeManifest(manifest);
        expect(parseManifest(bytes)).toEqual(manifest);
        expect(encodeManifest(parseManifest(bytes))).toEqual(bytes);
      }),
      { numRuns: 300 },
    );
  });

  it("throws nothing but ProtocolError on an edited manifest, and accepts only canonical bytes", ({ expect }) => {
    const edit = fc.tuple(fc.nat(), fc.constantFrom(...'"{}[]:,\\/.09aZ _-\n'.split("")), fc.constantFrom(0, 1, 2));
    fc.assert(
      fc.property(arbitraryManifest, edit, (manifest, [where, text, removed]) => {
        const before = Buffer.from(encodeManifest(manifest)).toString("latin1");
        const at = where % before.length;
        const after = Buffer.from(before.slice(0, at) + text + before.slice(at + removed), "latin1");
        try {
          expect(Buffer.from(encodeManifest(parseManifest(after)))).toEqual(after);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("refuses other bytes that say the same", ({ expect }) => {
    const canonical = one('{"name":"a","version":1,"size":0,"env":"A"}');
    expect(parse(canonical).entries).toHaveLength(1);
    const others = [
      `${canonical}\n`,
      ` ${canonical}`,
      canonical.replace('"vm"', ' "vm"'),
      canonical.replace('"name":"a"', String.raw`"name":"\u0061"`),
      canonical.replace('"env"', String.raw`"\u0065nv"`),
      canonical.replace('"name":"a","version":1', '"version":1,"name":"a"'),
      canonical.replace('"size":0', '"size":-0'),
    ];
    for (const text of others) expect(() => parse(text), text).toThrow(/is not canonical/);
  });

  it("writes the same bytes whatever order a signal's keys came in", ({ expect }) => {
    const entry: ManifestEntry = { name: "a", version: 1, size: 0, env: "A" };
    const first = encodeManifest({ ...top, entries: [{ ...entry, onChange: { signal: "HUP", pidFile: "/run/a" } }] });
    const second = encodeManifest({ ...top, entries: [{ ...entry, onChange: { pidFile: "/run/a", signal: "HUP" } }] });
    expect(second).toEqual(first);
    expect(() => parseManifest(second)).not.toThrow();
  });

  it("refuses an entry whose fields break a rule", ({ expect }) => {
    const refused: [entry: string, rule: RegExp][] = [
      ['{"name":"a","version":1,"size":0}', /entry 0: neither path nor env/],
      ['{"name":"a","version":0,"size":0,"env":"A"}', /version: not an integer from 1/],
      ['{"name":"a","version":9007199254740992,"size":0,"env":"A"}', /version: not an integer/],
      ['{"name":"a","version":1,"size":1048577,"env":"A"}', /size: not an integer from 0 to 1048576/],
      ['{"name":"a","version":1,"size":"0","env":"A"}', /size: not an integer/],
      ['{"name":"a","version":1,"size":0,"env":"A","mode":"0600"}', /mode without path/],
      ['{"name":"a","version":1,"size":0,"path":"a","mode":384,"uid":0,"gid":0}', /mode: not a string/],
      ['{"name":"a","version":1,"size":0,"path":"a","mode":"0600","gid":0}', /exactly one of uid and owner/],
      ['{"name":"a","version":1,"size":0,"path":"a","mode":"0600","uid":0,"owner":"a","gid":0}', /exactly one of uid/],
      ['{"name":"a","version":1,"size":0,"path":"a","mode":"0600","uid":2097152,"gid":0}', /uid is not a uid or gid/],
      ['{"name":"a","version":1,"size":0,"env":null}', /env: not a string/],
      ['{"name":"a","version":1,"size":0,"env":"A","value":"x"}', /unknown key "value"/],
      ['{"name":"a","version":1,"size":0,"env":"A","__proto__":{}}', /unknown key "__proto__"/],
      ["null", /entry 0: not an object/],
      ["[]", /entry 0: not an object/],
    ];
    for (const [entry, rule] of refused) expect(() => parse(one(entry)), entry).toThrow(rule);
  });

  it("takes only the known reactions to a change", ({ expect }) => {
    const good = [
      '{"reload":"nginx.service"}',
      '{"restart":"app@1.socket"}',
      '{"signal":"HUP","pidFile":"/run/a.pid"}',
      '{"exec":["/bin/sh","-c","echo \\"x\\" \\\\ y"]}',
    ];
    for (const json of good) expect(() => parse(on(json)), json).not.toThrow();
    const refused: [json: string, rule: RegExp][] = [
      ["{}", /not one of/],
      ['{"reload":"nginx"}', /unit's full name/],
      ['{"reload":"-x.service"}', /unit's full name/],
      ['{"reload":"../x.service"}', /unit's full name/],
      ['{"reload":"a.service","restart":"a.service"}', /not one of/],
      ['{"signal":"KILL","pidFile":"/run/a"}', /signal is not one of/],
      ['{"signal":"HUP"}', /not one of/],
      ['{"signal":"HUP","pidFile":"run/a"}', /is not absolute/],
      ['{"exec":[]}', /1 to 16 strings/],
      ['{"exec":["sh"]}', /is not absolute/],
      ['{"exec":["/bin/../sh"]}', /has the component/],
      [String.raw`{"exec":["/bin/sh","\u001b[31m"]}`, /not printable ascii/],
      [`{"exec":["/bin/sh","${"x".repeat(201)}"]}`, /over 200 characters/],
    ];
    for (const [json, rule] of refused) expect(() => parse(on(json)), json).toThrow(rule);
  });

  it("refuses a link under another link, at or in the mount root, or above it", ({ expect }) => {
    expect(() => checkEntries(links("/etc/a", "/etc/ab", "/srv/a"))).not.toThrow();
    expect(() => checkEntries(links("/etc/a", "/etc/a/b"))).toThrow('link "/etc/a/b" lies under the link "/etc/a"');
    expect(() => checkEntries(links("/etc/a", "/etc/a"))).toThrow('link "/etc/a" is there twice');
    expect(() => checkEntries(links("/run"))).toThrow(/collides with the mount root/);
    for (const link of ["/run/secrets", "/run/secrets/a", "/run"]) {
      expect(() => checkEntries(links(link), "/run/secrets"), link).toThrow(/collides with the mount root/);
      expect(() => parseManifest(encodeManifest({ ...top, mountRoot: "/run/secrets", entries: links(link) }))).toThrow(
        /collides with the mount root/,
      );
    }
    expect(() => checkEntries(links("/run/secrets2", "/run/a"), "/run/secrets")).not.toThrow();
  });

  it("refuses names, paths and variables that are there twice, and a file under a file", ({ expect }) => {
    expect(() => checkEntries([file("a", "x"), file("a", "y")])).toThrow('secret "a" is there twice');
    expect(() => checkEntries([file("a", "x"), file("b", "x")])).toThrow('path "x" is there twice');
    expect(() => checkEntries([file("a", "x/y/z"), file("b", "x/y")])).toThrow(
      'path "x/y/z" lies under the file "x/y"',
    );
    expect(() => checkEntries([file("a", "x"), file("b", "x/y/z")])).toThrow('path "x/y/z" lies under the file "x"');
    expect(() => checkEntries([file("a", "x/y"), file("b", "x/yz"), file("c", "x/z")])).not.toThrow();
    const variable = { version: 1, size: 0, env: "A" };
    expect(() =>
      checkEntries([
        { name: "a", ...variable },
        { name: "b", ...variable },
      ]),
    ).toThrow('variable "A" is there twice');
  });

  it("limits a bundle to 4,096 entries and 64 MiB of values", ({ expect }) => {
    expect(() => checkEntries(many(4_096, 16_384))).not.toThrow();
    expect(() => checkEntries(many(4_097, 0))).toThrow("4097 entries, more than 4096");
    expect(() => checkEntries(many(65, 1_048_576))).toThrow("more than 64 MiB");
    expect(() => parseManifest(new Uint8Array(4_194_305))).toThrow("more than 4 MiB");
  });
});
