// Folders that the host shares by 9p and virtiofs, in a real guest: every bundle with its bytes, modes and owners, hostile
// ones, changes while somebody reads, and what a guest may not do there.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { Bundle } from "#bundle";
import { BundleTar } from "#bundle/tar";
import { BundleReader } from "#protocol/bundle";
import { openPlainShare, type Share } from "#share/folder";
import { asTheyAre, mapped } from "#share/look";
import { SetWriter } from "#share/set-writer";
import { serveByVirtiofs } from "#vmm/virtiofsd";
import { goodCases, manifestText } from "#test/kit/bundle-cases";
import { caseBundle, isWhole } from "#test/kit/case-bundle";
import { GuestMachine, genericGuestFolder, guestFiles, machineFolder, nobody } from "#test/kit/guest";
import { hostileManifests } from "#test/kit/hostile-manifests";
import { installedLines, lookAt, valueLine } from "#test/kit/installed";

const ways = [{ by: "9p" }, { by: "virtiofs" }] as const;
const good = goodCases().filter(isWhole);
/** What the agent installs from there: some, since test/vm/channels.test.ts has all; names of users this guest has not. */
const numbered = new Set(good.filter(({ files = [] }, at) => at % 3 === 1 && files.every(({ owner }) => owner === "")));
/** A few: test/system/agent-media.test.ts has all of them. */
const hostile = hostileManifests().filter(({ bytes }, at) => at % 20 === 0 && bytes.length < 10_000);

/** Two secrets that always say the same, in a set of their own revision. */
function twins(counter: number): Bundle {
  const one = good.find(({ file }) => file === "good-block-sizes.tar");
  if (!one) throw new Error("there is no such vector");
  const { manifest, ...rest } = caseBundle(one);
  const entries = ["a", "z"].map((name) => ({
    name,
    version: counter,
    size: 8,
    file: { path: name, mode: "0440", user: 1000, group: 1000 },
  }));
  return {
    ...rest,
    manifest: { ...manifest, revision: `e2.1.${counter}`, entries },
    times: [1_700_000_000, 1_700_000_000],
    disclose: async () => async () => Buffer.from(String(counter).padStart(8, "0")),
  };
}

function show(share: Share, bundle: Bundle): Promise<boolean> {
  return share.replace(async (take) => {
    await new BundleTar(bundle, bundle.manifest.entries).writeTo(async (bytes) => take(bytes));
    return true;
  });
}

describe.each(ways)("a share by $by", ({ by }) => {
  let memory: string;
  let share: Share;
  let guest: GuestMachine;
  const look = by === "9p" ? mapped(nobody.gid) : asTheyAre;

  /** Sets beside the one that is shown, each under a name. */
  function place(name: string, bytes: Buffer): void {
    const writer = new SetWriter(look, () => join(share.exported, "sets", name));
    const reader = new BundleReader(writer);
    reader.push(bytes);
    reader.end();
  }

  /** A set whose manifest is what no host writes. */
  function placeManifest(name: string, manifest: string | Buffer): string {
    const folder = join(share.exported, name);
    look.folder(folder, 0o711);
    look.folder(join(folder, ".hatchway"), 0o700);
    const path = join(folder, ".hatchway/manifest.json");
    const fd = look.create(path);
    writeFileSync(fd, manifest);
    look.finish(fd, path, { mode: 0o600, uid: 0, gid: 0, mtime: 0 });
    return folder;
  }

  beforeAll(async () => {
    memory = mkdtempSync("/dev/shm/hatchway-share.");
    chmodSync(memory, 0o711);
    share = await openPlainShare(join(memory, "share"), by, nobody.gid);
    const directory = machineFolder(nobody);
    const socket = join(directory, "share.sock");
    if (by === "virtiofs") await serveByVirtiofs(share.exported, socket, nobody);
    const append = `hatchway.agent=off hatchway.share=${by}`;
    const shared = by === "9p" ? ({ by, folder: share.exported } as const) : ({ by, socket } as const);
    guest = await GuestMachine.launch({ directory, ...guestFiles(genericGuestFolder), append, share: shared });
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await share[Symbol.asyncDispose]();
    rmSync(memory, { recursive: true });
  });

  it("has every bundle with its bytes, modes and owners, and so has who installs from it", async ({ expect }) => {
    for (const [at, { bytes }] of good.entries()) place(`good${at}`, bytes);
    const script = good.flatMap((one, at) => [
      `echo = ${at} shared`,
      lookAt(`/run/share/sets/good${at}`),
      ...(numbered.has(one)
        ? [
            `echo = ${at} installed`,
            `hatchway-agent sync --from dir:/run/share/sets/good${at} --root /run/h${at} >/dev/null 2>&1`,
            lookAt(`/run/h${at}/secrets`),
          ]
        : []),
    ]);
    const said = (await guest.output(script.join("\n"))).trimEnd();
    const wanted = good.flatMap((one, at) => [
      `= ${at} shared`,
      ...(one.files ?? []).map(valueLine).toSorted(),
      ...(numbered.has(one) ? [`= ${at} installed`, ...installedLines(one)] : []),
    ]);
    expect(said.split("\n")).toEqual(wanted);
  });

  it("is refused by the agent where it is what no host writes, and leaves the set in force", async ({ expect }) => {
    const refused: [name: string, text: string][] = hostile.map(({ bytes, rule }, at) => {
      const size = Number.parseInt(bytes.toString("latin1", 124, 135), 8);
      placeManifest(`bad${at}`, bytes.subarray(512, 512 + size));
      return [`bad${at}`, rule];
    });
    for (const [at, target] of ["../secret", "/etc", "sets/..", "sets/a/b"].entries()) {
      const folder = join(share.exported, `link${at}`);
      look.folder(folder, 0o711);
      look.link(join(folder, "current"), target);
      refused.push([`link${at}`, "leads elsewhere"]);
    }
    const entry = { name: "db", version: 1, size: 4, path: "db", mode: "0600", uid: 0, gid: 0 };
    const manifest = manifestText([entry], { revision: "e1.1.9" });
    look.link(join(placeManifest("symlink", manifest), "db"), "../../etc/passwd");
    look.folder(join(placeManifest("folder", manifest), "db"), 0o711);
    placeManifest("missing", manifest);
    refused.push(["symlink", "db"], ["folder", "not as the manifest says"], ["missing", "no such file"]);

    const script = [
      "hatchway-agent sync --from dir:/run/share/sets/good1 >/dev/null",
      "sha256sum /run/hatchway/secrets/* >/tmp/before",
      `for one in ${refused.map(([name]) => name).join(" ")}; do`,
      '  words="$(hatchway-agent sync --from dir:/run/share/$one 2>&1)"; echo "$? $one $words" | tr "\\n" " "; echo',
      "done",
      "sha256sum /run/hatchway/secrets/* | cmp - /tmp/before && echo same",
    ];
    const lines = (await guest.output(script.join("\n"))).trimEnd().split("\n");
    expect(lines.at(-1)).toBe("same");
    for (const [at, [name, text]] of refused.entries()) {
      expect(lines[at], name).toMatch(new RegExp(`^1 ${name} error: `));
      expect(lines[at], name).toContain(text);
    }
  });

  it("gives a user of the guest what is his, and nobody a way to write", async ({ expect }) => {
    await show(share, twins(1));
    const asApp = "for try in 'cat current/a' 'cat current/.hatchway/manifest.json' 'ls .' 'ls sets' 'ls current'; do";
    const options = by === "9p" ? "rw,trans=virtio,version=9p2000.L" : "rw";
    const writes = ["touch x", "mkdir y", "rm -f current", "chmod 777 sets", "chown 1 current/a", "echo x >current/a"];
    const script = [
      `cd /run/share; ${asApp} su app -c "$try" 2>&1 | sed 's/: .*//'; done`,
      `cd /; umount /run/share; mount -t ${by} -o ${options} hatchway /run/share && cd /run/share`,
      ...writes.map((write) => `( ${write} ) 2>/dev/null && echo 'done: ${write}'`),
      `cat current/a; cd /; umount /run/share; mount -t ${by} -o ${options.replace("rw", "ro")} hatchway /run/share`,
    ];
    expect(await guest.output(script.join("\n"))).toBe("00000001cat\nls\nls\nls\n00000001");
  });

  it("shows who reads in a loop the old set or the new one, over 200 changes", async ({ expect }) => {
    await show(share, twins(2));
    const reader = [
      "seen=0 gone=0 last=; echo begins",
      "until [ -e /tmp/stop ]; do",
      "  if cd /run/share/current && a=$(cat a) && z=$(cat z); then",
      '    if [ "$a" != "$z" ] || [ ${#a} != 8 ]; then echo "mixed $a $z"; fi',
      '    if [ "$a" != "$last" ]; then seen=$((seen+1)); last=$a; fi',
      "  else gone=$((gone+1)); fi",
      "done 2>/dev/null; echo $seen $gone $last",
    ];
    const begun = [
      `cat >/tmp/reader <<'END'\n${reader.join("\n")}\nEND`,
      "setsid sh /tmp/reader >/tmp/read 2>&1 &",
      "setsid hatchway-agent run --from dir:/run/share >/tmp/agent 2>&1 &",
      "until grep -q begins /tmp/read && [ -e /run/hatchway/secrets/a ]; do sleep 0.1; done",
    ];
    await guest.output(begun.join("\n"));
    for (let counter = 3; counter <= 202; counter++) {
      await show(share, twins(counter));
      await sleep(5);
    }
    const ended = [
      'until [ "$(cat /run/hatchway/secrets/a)" = 00000202 ]; do sleep 0.1; done; killall hatchway-agent',
      "cat /run/hatchway/secrets/z; echo; grep -v revision /tmp/agent",
      "until grep -q 'begins' /tmp/read && [ \"$(cat /run/share/current/a)\" = 00000202 ]; do sleep 0.1; done",
      "touch /tmp/stop; until grep -q ' 00000202$' /tmp/read; do sleep 0.1; done; cat /tmp/read",
    ];
    const [value, begins, counts = "", ...more] = (await guest.output(ended.join("\n"))).trimEnd().split("\n");
    expect([value, begins, more]).toEqual(["00000202", "begins", []]);
    const [seen = 0, gone] = counts.split(" ").map(Number);
    expect(seen).toBeGreaterThan(5);
    expect(gone).toBe(0);
    await share.settled();
    const kept = await readdir(join(share.exported, "sets"));
    expect(kept.filter((name) => name.startsWith("e2."))).toEqual(["e2.1.202"]);
  });
});
