// Secrets by ssh: a real sshd on the host that knows each VM by its key, and the agent with Debian's own ssh client.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { COMPILED, ended, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { bundle } from "#test/kit/session-daemon";
import { makeKey, Sshd } from "#test/kit/sshd";
import { R1, R2, SystemHost } from "#test/kit/system-host";
import { until } from "#test/kit/until";

const CLONE = "/run/clone";
const SET = "/run/hatchway/secrets";
const PLATFORMS = [COMPILED, ON_NODE];

describe("secrets by ssh", () => {
  let host: SystemHost;
  let sshd: Sshd;
  let guest: GuestNamespace;
  const folder = mkdtempSync("/tmp/hw-ssh.");
  const keys = (vm: string): string => join(folder, vm);
  const hatchway = (...args: string[]): Promise<string> =>
    host.root(`${CLONE}/bin/hatchway -c secret:///system ${args.join(" ")}`);
  const from = (user = R1.name): string[] => ["--from", `ssh:${user}@127.0.0.1:${sshd.port}`];
  const agent = (vm: string, ...args: string[]): string[] => [...COMPILED.command, ...args, "--ssh-keys", keys(vm)];
  const clientWords = (vm: string): string[] =>
    `ssh -F none -i ${keys(vm)}/key -o BatchMode=yes -o UserKnownHostsFile=${keys(vm)}/known_hosts -p ${sshd.port}`.split(
      " ",
    );
  /** The guest's own ssh client with a VM's key, for what no agent would do. */
  const client = (vm: string, user: string, ...words: string[]): Promise<Ended> =>
    guest.run(["timeout", "30", ...clientWords(vm), `${user}@127.0.0.1`, ...words]);

  beforeAll(async () => {
    await bundle();
    host = await SystemHost.start();
    // The runners cannot look into the folder that a clone may lie in.
    await host.root(`mkdir ${CLONE} && mount --bind ${resolve(".")} ${CLONE} && mkdir -m 0755 /run/authorized`);
    await host.ok(["secret", "create", "first", "--mode", "0400", "--uid", "1000"], "canary of one");
    await host.ok(["secret", "create", "second"], "canary of two");
    await host.ok(["vm", "create", "one", "--external", "--runner", "r1", "--secret", "first"]);
    await host.ok(["vm", "create", "two", "--external", "--runner", "r2", "--secret", "second"]);
    for (const [vm, runner] of [
      ["one", R1],
      ["two", R2],
    ] as const) {
      mkdirSync(keys(vm));
      makeKey(join(keys(vm), "key"));
      await hatchway("vm", "ssh-key", vm, join(keys(vm), "key.pub"), `>/run/authorized/${runner.name}`);
    }
    sshd = await Sshd.start(host, { folder: join(folder, "sshd"), authorizedKeys: "/run/authorized/%u" });
    for (const vm of ["one", "two"]) writeFileSync(join(keys(vm), "known_hosts"), sshd.knownHosts);
    guest = await GuestNamespace.open();
  });

  afterAll(async () => {
    await guest.close();
    await sshd[Symbol.asyncDispose]();
    await host.root(`umount ${CLONE}`);
    await host[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it.for(PLATFORMS)("arrive by the key alone, agent $name", async ({ command }, { expect }) => {
    const synced = await guest.run([...command, "sync", ...from(), "--ssh-keys", keys("one")]);
    expect(synced).toMatchObject({ code: 0, stderr: "" });
    expect(synced.stdout).toMatch(/^1 secret, revision /);
    expect(guest.listing(SET).filter((line) => !line.includes(".hatchway"))).toEqual(["400 1000 0 13 first"]);
    expect((await host.vm("one")).convergence).toMatchObject({ in_sync: true, generation: 1, alarms: [] });
  });

  it("arrive live, and after sshd was away", async ({ expect }) => {
    const run = guest.start(agent("one", "run", ...from()));
    await until("the set is there", () => guest.shell(`cat ${SET}/first 2>/dev/null || true`) === "canary of one");
    await host.ok(["secret", "update", "first", "--wait", "--timeout", "30s"], "second canary");
    expect(readFileSync(guest.path(`${SET}/first`), "utf8")).toBe("second canary");
    // Each connection of the host's sshd ends, as in a restart or a lost network.
    sshd.hangUp();
    await host.ok(["secret", "update", "first", "--wait", "--timeout", "30s"], "canary of one");
    expect(readFileSync(guest.path(`${SET}/first`), "utf8")).toBe("canary of one");
    const gone = ended(run);
    run.kill("SIGTERM");
    expect((await gone).code).toBe(0);
    await until(
      "the client ends with its agent",
      () => guest.shell(`pgrep -f '[s]sh .*-p ${sshd.port} ' || true`) === "",
    );
  });

  it("go to nobody else: another VM's key is no way in, and each key leads to its own VM", async ({ expect }) => {
    expect(await client("two", "r1", "true")).toMatchObject({ code: 255 });
    const other = await guest.run(agent("two", "sync", ...from("r1")));
    expect(other.code).toBe(1);
    expect(other.stderr).toContain("Permission denied");
    const own = await guest.run(agent("two", "sync", ...from("r2"), "--root", "/run/two"));
    expect(own).toMatchObject({ code: 0 });
    expect(guest.listing("/run/two/secrets").filter((line) => !line.includes(".hatchway"))).toEqual([
      "600 0 0 13 second",
    ]);
  });

  it("are all that a key gives: no command, no shell, no forwarding, no copy", async ({ expect }) => {
    const command = await client("one", "r1", "cat /run/hatchway/vm/one/control.sock");
    expect(command.code).toBe(5);
    expect(command.stderr).toContain("this key is for the secrets of one vm, and runs no command");
    const terminal = await client("one", "r1", "-tt", "sh");
    expect(terminal.code).not.toBe(0);
    expect(terminal.stdout).not.toContain("$");
    const sftp = await client("one", "r1", "-s", "sftp");
    expect(sftp.code).not.toBe(0);
    // A forwarded port or socket opens on the guest's side; sshd refuses when somebody comes.
    const control = "/run/hatchway/vm/one/control.sock";
    const ssh = clientWords("one").join(" ");
    const forward = await guest.run([
      "sh",
      "-c",
      `timeout 20 ${ssh} -W ${control}:1 r1@127.0.0.1 </dev/null
       timeout 20 ${ssh} -o ExitOnForwardFailure=yes -R 127.0.0.1:0:127.0.0.1:1 r1@127.0.0.1 </dev/null`,
    ]);
    expect(forward.stderr).toContain("administratively prohibited");
    expect(forward.stderr).toMatch(/remote port forwarding failed|administratively prohibited/);
    expect(forward.stdout).toBe("");
  });

  it("are not told to who speaks nonsense, which harms no one", async ({ expect }) => {
    const garbage = `head -c 300000 /dev/urandom | timeout 30 ${clientWords("one").join(" ")} r1@127.0.0.1 | head -c 1000 | wc -c`;
    const said = await guest.run(["sh", "-c", garbage]);
    expect(Number(said.stdout)).toBeLessThan(1000);
    expect(await guest.run(agent("one", "sync", ...from()))).toMatchObject({ code: 0 });
  });

  it("are not fetched with a key that others could have read, or from a host that is not known", async ({ expect }) => {
    guest.shell(`mkdir /run/keys && cp ${keys("one")}/* /run/keys && chmod 0640 /run/keys/key`);
    const sync = (): Promise<Ended> =>
      guest.run([...COMPILED.command, "sync", ...from(), "--ssh-keys", "/run/keys", "--root", "/run/three"]);
    expect((await sync()).stderr).toContain('ssh key "/run/keys/key": it must be a file of root that nobody else can');
    guest.shell("chmod 0600 /run/keys/key && : >/run/keys/known_hosts");
    const stranger = await sync();
    expect(stranger).toMatchObject({ code: 1 });
    expect(stranger.stderr).toContain("Host key verification failed");
    expect(guest.listing("/run/three/secrets")).toEqual([]);
  });
});
