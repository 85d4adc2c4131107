// The promise of the exchange: a reader sees all of one revision, whatever is done to the agent or to its input.
import { once } from "node:events";
import { closeSync, constants, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { beforeAll, beforeEach, describe, it } from "vitest";
import { parseManifest } from "#protocol/manifest";
import { guestAndHost } from "#test/kit/guest-and-host";
import { COMPILED, ended, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { env, file, HostPeer, type Given } from "#test/kit/host-peer";
import { readBundle } from "#test/kit/bundle";
import { bundleVectors } from "#test/kit/vectors";

const SET = "/run/hatchway/secrets";
const FILES = 30;

/** A set whose every value names its generation; a third of it is the same in all. */
function generation(number: number): Given[] {
  return Array.from({ length: FILES }, (_, index) => {
    const value = `${index % 3 === 0 ? "fixed" : `generation ${number}`} ${"x".repeat(index * 100)}`;
    return file(`secret-${index}`, value, { path: `folder-${index % 4}/secret-${index}` });
  });
}

/** The host peer's revisions differ in their last number. */
function counter(revision: string): number {
  return Number(revision.split(".").at(-1));
}

describe("hatchway-agent, compiled, given the bundle vectors", () => {
  let guest: GuestNamespace;
  let host: HostPeer;

  beforeAll(async () => {
    const made = await guestAndHost();
    ({ guest, host } = made);
    return made.close;
  });

  const sync = (): Promise<Ended> =>
    guest.run([...COMPILED.command, "sync", "--from", `unix:${join(guest.outside, "api")}`]);

  for (const { file: name, outcome, rule, about, files, bytes } of bundleVectors()) {
    it(`gives the right verdict on ${name}: ${about}`, async ({ expect }) => {
      host.body = bytes;
      const before = guest.listing(SET);
      const { code, stdout, stderr } = await sync();
      const { manifest } = readBundle([bytes]);
      if (outcome === "ok" && manifest?.entries.length !== files?.length) {
        // Well formed, but it counts on values that this guest has never had.
        expect(stderr).toBe("error: the host's answer leaves out values that this guest does not have\n");
      } else if (outcome === "ok") {
        expect(stdout).toMatch(/^[0-9]+ secrets?, revision /);
        const sizes = guest.listing(SET).map((line) => line.split(" ").slice(3));
        if (stderr === "") for (const one of files ?? []) expect(sizes).toContainEqual([`${one.size}`, one.path]);
      } else {
        expect([code, stdout]).toEqual([1, ""]);
        expect(stderr).toContain(rule);
        expect(stderr).toMatch(/^[ -~]+\n$/);
        expect(guest.listing(SET)).toEqual(before);
      }
    });
  }
});

describe.each([
  { ...COMPILED, rounds: 120, cuts: 60 },
  { ...ON_NODE, rounds: 8, cuts: 5 },
])("hatchway-agent under faults, $name", ({ command, rounds, cuts }) => {
  let guest: GuestNamespace;
  let host: HostPeer;
  let from: string;

  beforeEach(async () => {
    const made = await guestAndHost();
    ({ guest, host, from } = made);
    return made.close;
  });

  const argv = (...args: string[]): string[] => [...command, ...args, "--from", from];
  const sync = (): Promise<Ended> => guest.run(argv("sync"));

  /** What a reader finds through one descriptor: the revision and the generations in its files; undefined when the set went away. */
  function look(): { revision: string; generations: Set<string> } | undefined {
    const fd = openSync(guest.path(SET), constants.O_DIRECTORY);
    try {
      const read = (path: string): Buffer => readFileSync(`/proc/self/fd/${fd}/${path}`);
      const manifest = parseManifest(read(".hatchway/manifest.json"));
      const generations = new Set<string>();
      for (const { name, size, file: target } of manifest.entries) {
        const value = read(target?.path ?? "");
        if (value.length !== size) throw new Error(`"${name}" has ${value.length} bytes of ${size}`);
        const text = value.toString("latin1").replace(/ x*$/, "");
        if (text !== "fixed") generations.add(text);
      }
      return { revision: manifest.revision, generations };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  it("killed at any moment, it leaves the old set or the new one", async ({ expect }) => {
    host.set(...generation(0));
    await sync();
    host.set(...generation(1));
    const start = performance.now();
    await sync();
    // Where the exchange is thought to be, in ms from the start: each kill that comes before it moves the next one on, each
    // that comes after moves it back, so that most fall close by.
    let aim = performance.now() - start;
    const outcomes = { old: 0, new: 0 };
    for (let round = 2; round < rounds + 2 || (Math.min(outcomes.old, outcomes.new) === 0 && round < 1000); round++) {
      const before = look()?.revision;
      host.set(...generation(round));
      const child = guest.start(argv("sync"));
      const end = once(child, "exit");
      await pause(aim * (0.7 + Math.random() * 0.6));
      child.kill("SIGKILL");
      const set = look();
      await end;
      const after = look();
      for (const found of [set, after]) {
        if (found) expect([...found.generations]).toEqual([`generation ${counter(found.revision) - 1}`]);
      }
      expect([before, host.revision]).toContain(after?.revision);
      const committed = after?.revision === host.revision;
      outcomes[committed ? "new" : "old"]++;
      aim *= committed ? 0.9 : 1.1;
    }
    await sync();
    expect(guest.shell("ls /run/hatchway/.agent")).toBe("claim\nlock\nstatus.json\n");
    expect(look()?.revision).toBe(host.revision);
  });

  it("a reader by descriptor never sees a mix while sets follow each other", async ({ expect }) => {
    host.set(...generation(1));
    const child = guest.start(argv("run"));
    const output = ended(child);
    await host.receipt(({ revision }) => revision === "e1.g1.1");
    let whole = 0;
    for (let round = 2; round < rounds / 2 + 2; round++) {
      host.set(...generation(round));
      const applied = host.receipt(({ revision }) => revision === `e1.g1.${round}`).then(() => true);
      while (!(await Promise.race([applied, pause(0).then(() => false)]))) {
        const found = look();
        if (!found) continue;
        whole++;
        expect([...found.generations]).toEqual([`generation ${counter(found.revision)}`]);
      }
    }
    expect(whole).toBeGreaterThan(0);
    child.kill("SIGTERM");
    expect((await output).code).toBe(0);
  });

  it("an answer that ends early changes nothing, wherever it ends", async ({ expect }) => {
    host.set(...generation(1));
    await sync();
    const before = guest.listing(SET);
    host.set(...generation(2));
    const { length } = host.tar("e1.g1.1");
    for (let cut = 0; cut < cuts; cut++) {
      host.cutAfter = Math.floor((cut * (length - 1)) / (cuts - 1)) + (cut % 3 === 1 && cut < cuts - 1 ? 1 : 0);
      expect(await sync()).toEqual({ code: 1, stdout: "", stderr: "error: the host closed the connection\n" });
      expect(guest.listing(SET)).toEqual(before);
    }
    expect(guest.shell("ls /run/hatchway/.agent")).toBe("claim\nlock\nstatus.json\n");
    host.cutAfter = undefined;
    expect((await sync()).code).toBe(0);
    expect(look()?.generations).toEqual(new Set(["generation 2"]));
  });

  it("an answer that leaves out a value is asked for again, then refused", async ({ expect }) => {
    host.set(file("a", "1"), file("b", "1"));
    host.withheld = ["b"];
    expect((await sync()).stderr).toBe("error: the host's answer leaves out values that this guest does not have\n");
    expect(guest.listing(SET)).toEqual([]);
    expect(host.requests.filter((line) => line.includes("/v1/bundle"))).toHaveLength(2);
  });

  it("what a killed agent left is removed, and a folder that is no set is replaced", async ({ expect }) => {
    host.set(file("a", "1"));
    await sync();
    guest.shell("mkdir -p /run/hatchway/.agent/next-1234/x; echo v > /run/hatchway/.agent/next-1234/x/y");
    writeFileSync(guest.path(`${SET}/.hatchway/manifest.json`), "{}");

    const { code, stderr } = await sync();
    expect([code, stderr]).toEqual([
      0,
      '"/run/hatchway/secrets" is not a set that hatchway-agent made; it will be replaced\n',
    ]);
    expect(guest.shell("ls /run/hatchway/.agent")).toBe("claim\nlock\nstatus.json\n");
    expect(guest.listing(SET)).toContain("600 0 0 1 a");
  });

  it("a value that is retired is overwritten unless someone has it open", async ({ expect }) => {
    host.set(file("open", "before"), file("closed", "before"));
    await sync();
    const held = openSync(guest.path(`${SET}/open`), "r");
    // A descriptor that only names the file does not count as having it open, and still reaches its bytes.
    const witness = openSync(guest.path(`${SET}/closed`), 0o10000000);
    host.set(file("open", "after"), file("closed", "after"));
    await sync();
    expect(readFileSync(`/proc/self/fd/${held}`, "latin1")).toBe("before");
    expect(readFileSync(`/proc/self/fd/${witness}`, "latin1")).toBe("\0".repeat(6));
    closeSync(held);
    closeSync(witness);
  });

  it("the environment of one revision is given to exec, also while another comes", async ({ expect }) => {
    host.set(env("a", "A_TOKEN", "1"), env("b", "B_TOKEN", "1"));
    await sync();
    host.set(env("a", "A_TOKEN", "2"), env("b", "B_TOKEN", "2"));
    const runs = Array.from({ length: 5 }, () =>
      guest.run([...argv("exec"), "--", "sh", "-c", 'echo "$A_TOKEN$B_TOKEN"']),
    );
    const [, ...outcomes] = await Promise.all([sync(), ...runs]);
    for (const { stdout } of outcomes) expect(["11\n", "22\n"]).toContain(stdout);
  });
});
