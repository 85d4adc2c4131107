// hatchway push: the real ssh of this machine into a real sshd, behind which are a Debian's tools, or busybox's alone.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { VmBody } from "#api-vm";
import { COMPILED, GuestNamespace } from "#test/kit/guest-namespace";
import { addUsers, GUEST_ROOT, IN_ROOT, makeBusyboxRoot } from "#test/kit/guest-root";
import { Session, type Ran } from "#test/kit/session";
import { bundle } from "#test/kit/session-daemon";
import { makeKey, Sshd } from "#test/kit/sshd";

const SET = "/run/hatchway/secrets";
const binary = randomBytes(70_000);

describe.each([
  { tools: "Debian's", inside: "", options: {} },
  { tools: "busybox's", inside: GUEST_ROOT, options: IN_ROOT },
])("a push into a guest with $tools tools", ({ inside, options }) => {
  let session: Session;
  let guest: GuestNamespace;
  let sshd: Sshd;
  const folder = mkdtempSync("/tmp/hw-push.");
  const set = `${inside}${SET}`;

  const push = (vm = "web-1", ...flags: string[]): Promise<Ran> =>
    session.run(["push", vm, "--ssh", "root@127.0.0.1", "--ssh-config", join(folder, "config"), ...flags]);
  const listing = (): string[] => guest.listing(set).filter((line) => !line.includes(".hatchway"));
  const vm = (): Promise<VmBody> => session.vm("web-1");

  beforeAll(async () => {
    await bundle();
    session = await Session.start();
    guest = await GuestNamespace.open();
    addUsers(guest);
    if (inside !== "") makeBusyboxRoot(guest);
    makeKey(join(folder, "key"));
    guest.shell(`cp ${folder}/key.pub /run/authorized`);
    sshd = await Sshd.start(guest, { folder: join(folder, "sshd"), authorizedKeys: "/run/authorized", ...options });
    writeFileSync(join(folder, "known_hosts"), sshd.knownHosts);
    const lines = [`Port ${sshd.port}`, `IdentityFile ${folder}/key`, `UserKnownHostsFile ${folder}/known_hosts`];
    writeFileSync(join(folder, "config"), `${["BatchMode yes", ...lines].join("\n")}\n`);
    await session.ok(["secret", "create", "binary", "--mode", "0400", "--uid", "1000", "--gid", "1001"], {
      stdin: binary,
    });
    await session.ok(["secret", "create", "named", "--owner", "app"], { stdin: "of app" });
    await session.ok(["secret", "create", "TOKEN", "--env"], { stdin: "a variable" });
    await session.ok(["vm", "create", "web-1", "--external", "--secret", "binary"]);
    await session.ok(["vm", "attach", "web-1", "named", "--as", "deep/er/file"]);
  });

  afterAll(async () => {
    await sshd[Symbol.asyncDispose]();
    await guest.close();
    await session[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it("brings bytes, modes and owners into memory, and the host knows", async ({ expect }) => {
    const { code, stdout, stderr } = await push();
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^pushed 2 secrets to "root@127\.0\.0\.1": in \/run\/hatchway\/secrets, on (tmpfs|tmpfs,noswap|ramfs)\n$/,
    );
    expect(listing()).toEqual(["400 1000 1001 70000 binary", "600 1000 0 6 deep/er/file"]);
    expect(readFileSync(guest.path(`${set}/binary`)).equals(binary)).toBe(true);
    const modes = guest.shell(
      `cd ${inside}/run/hatchway && stat -L -c '%a %u %n' . secrets secrets/deep secrets/.hatchway`,
    );
    expect(modes).toBe("711 0 .\n711 0 secrets\n711 0 secrets/deep\n700 0 secrets/.hatchway\n");
    expect(guest.shell(`grep ' ${inside}/run/hatchway ' /proc/self/mountinfo`)).toMatch(/nosuid,nodev,noexec/);
    const { convergence } = await vm();
    expect(convergence).toMatchObject({ in_sync: true, applied: convergence.wanted, agent: "pushed by ssh" });
  });

  it("brings a change when it is pushed again, and takes back what was taken back", async ({ expect }) => {
    await session.ok(["secret", "update", "named"], { stdin: "changed" });
    await session.ok(["vm", "attach", "web-1", "TOKEN"]);
    await session.ok(["vm", "detach", "web-1", "binary"]);
    expect((await vm()).convergence.in_sync).toBe(false);
    const { code, stderr } = await push();
    expect(code).toBe(0);
    expect(stderr).toContain("only the agent makes variables, links and reactions; not made of: TOKEN");
    expect(listing()).toEqual(["600 1000 0 7 deep/er/file"]);
    expect(guest.shell(`ls ${inside}/run/hatchway/.sets | wc -l; ls -A ${inside}/run/hatchway`)).toBe(
      "1\n.sets\nsecrets\n",
    );
    expect((await vm()).convergence.in_sync).toBe(true);
    await session.ok(["vm", "detach", "web-1", "TOKEN"]);
  });

  it("leaves the set in force where an owner is unknown, and says who", async ({ expect }) => {
    await session.ok(["secret", "create", "odd", "--owner", "nosuchuser"], { stdin: "x" });
    await session.ok(["vm", "attach", "web-1", "odd"]);
    const { code, stderr } = await push();
    expect(code).toBe(6);
    expect(stderr).toContain('this guest has no user and group "nosuchuser:0", whose "odd" is to be');
    expect(listing()).toEqual(["600 1000 0 7 deep/er/file"]);
    expect((await vm()).convergence.in_sync).toBe(false);
    await session.ok(["vm", "detach", "web-1", "odd"]);
  });

  it("changes nothing where it is cut off, at any block", async ({ expect }) => {
    const whole = join(folder, "whole.tar");
    await session.ok(["image", "build", "web-1", "--format", "tar", "--plain", "--out", whole]);
    const script = join(folder, "script");
    writeFileSync(script, readFileSync("guest/ssh/push"));
    const blocks = readFileSync(whole).length / 512;
    for (const cut of [0, 1, 2, blocks - 3, blocks - 2, blocks]) {
      const login = inside === "" ? "" : `chroot ${inside}`;
      const run = `head -c ${cut * 512} ${whole} | ${login} sh -c "$(cat ${script})" hatchway cut`;
      const { code, stdout } = await guest.run(["sh", "-c", run]);
      expect(code, `${cut} blocks`).not.toBe(0);
      expect(stdout).not.toContain("done");
    }
    expect(listing()).toEqual(["600 1000 0 7 deep/er/file"]);
    expect(guest.shell(`ls -A ${inside}/run/hatchway`)).toBe(".sets\nsecrets\n");
  });

  it("is refused where an agent is, where files would be on a disk, and for options in place of a guest", async ({
    expect,
  }) => {
    guest.shell(`mkdir ${inside}/run/hatchway/.agent`);
    expect((await push()).stderr).toContain("hatchway-agent keeps the secrets of this guest");
    guest.shell(`rmdir ${inside}/run/hatchway/.agent`);
    for (const ssh of ["-oProxyCommand=id", "root@-oProxyCommand=id", "root@a b", "", "-i@host"]) {
      const refused = await session.run(["push", "web-1", `--ssh=${ssh}`]);
      expect(refused.code, ssh).toBe(2);
    }
    expect((await push("nobody-there")).code).toBe(3);
  });

  it("gives way to an agent that is installed later", async ({ expect }) => {
    const from = ["--from", `unix-serial:${session.runtime}/vm/web-1/ssh.sock`];
    const root = ["--root", `${inside}/run/hatchway`];
    expect(await guest.run([...COMPILED.command, "sync", ...from, ...root])).toMatchObject({ code: 0, stderr: "" });
    expect(guest.shell(`ls -A ${inside}/run/hatchway`)).toBe(".agent\nenv\nsecrets\n");
    expect(listing()).toEqual(["600 1000 0 7 deep/er/file"]);
  });
});
