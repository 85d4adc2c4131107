// hatchway agent install: by real ssh into a guest with OpenRC, and into one of busybox alone; each init then runs the agent.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { COMPILED, GuestNamespace, type Ended } from "#test/kit/guest-namespace";
import { addUsers, GUEST_ROOT, IN_ROOT, makeBusyboxRoot, makeOpenrcRoot } from "#test/kit/guest-root";
import { Session, type Ran } from "#test/kit/session";
import { bundle } from "#test/kit/session-daemon";
import { makeKey, Sshd } from "#test/kit/sshd";
import { until } from "#test/kit/until";
import { gunzipSync } from "node:zlib";
import { parse } from "yaml";

const AGENT = readFileSync(COMPILED.command[0] ?? "");
const SECRET = `${GUEST_ROOT}/run/hatchway/secrets/db`;

interface CloudConfig {
  write_files: { path: string; permissions: string; encoding: string; content: string }[];
  runcmd: string[];
}

describe.each([
  { init: "openrc", makeRoot: makeOpenrcRoot, service: "rc-service --nodeps hatchway-agent" },
  { init: "plain", makeRoot: makeBusyboxRoot, service: "/etc/init.d/hatchway-agent" },
])("an agent that is installed where the init is $init", ({ init, makeRoot, service }) => {
  let session: Session;
  let guest: GuestNamespace;
  let sshd: Sshd;
  const folder = mkdtempSync("/tmp/hw-install.");

  const from = ["--from", "unix-serial:/run/host/ssh.sock"];
  const install = (...flags: string[]): Promise<Ran> =>
    session.run([
      "agent",
      "install",
      "--ssh",
      "root@127.0.0.1",
      "--ssh-config",
      join(folder, "config"),
      ...from,
      ...flags,
    ]);
  const inside = (script: string): Promise<Ended> => guest.run(["chroot", GUEST_ROOT, "/bin/sh", "-c", script]);
  const secret = (): string => guest.shell(`cat ${SECRET} 2>/dev/null || true`);

  /** The agent's lock, whose line says who has it. */
  const holder = (): string => guest.shell(`cat ${GUEST_ROOT}/run/hatchway/.agent/lock`);

  beforeAll(async () => {
    await bundle();
    session = await Session.start();
    guest = await GuestNamespace.open();
    addUsers(guest);
    makeRoot(guest);
    makeKey(join(folder, "key"));
    guest.shell(`cp ${folder}/key.pub /run/authorized`);
    sshd = await Sshd.start(guest, { folder: join(folder, "sshd"), authorizedKeys: "/run/authorized", ...IN_ROOT });
    writeFileSync(join(folder, "known_hosts"), sshd.knownHosts);
    const lines = [`Port ${sshd.port}`, `IdentityFile ${folder}/key`, `UserKnownHostsFile ${folder}/known_hosts`];
    writeFileSync(join(folder, "config"), `${["BatchMode yes", ...lines].join("\n")}\n`);
    await session.ok(["secret", "create", "db"], { stdin: "first" });
    await session.ok(["vm", "create", "web-1", "--external", "--secret", "db"]);
    guest.shell(`mkdir ${GUEST_ROOT}/run/host && mount --bind ${session.runtime}/vm/web-1 ${GUEST_ROOT}/run/host`);
  });

  afterAll(async () => {
    await inside(`${service} stop`);
    await sshd[Symbol.asyncDispose]();
    await guest.close();
    await session[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it("is looked for, and nothing is changed by a dry run", async ({ expect }) => {
    const { code, stdout } = await install("--dry-run");
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`is (x86_64|aarch64) with ${init}: the agent \\(sha256 `));
    expect(stdout).toContain("is to be copied; nothing was changed");
    expect((await inside("ls /usr/bin/hatchway-agent")).code).not.toBe(0);
  });

  it("is whole, runs, and has its secrets live", async ({ expect }) => {
    const { code, stdout, stderr } = await install();
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("put /usr/bin/hatchway-agent in place, wrote /etc/init.d/hatchway-agent");
    const sum = await inside("sha256sum /usr/bin/hatchway-agent");
    expect(sum.stdout).toContain(createHash("sha256").update(AGENT).digest("hex"));
    expect(secret()).toBe("first");
    await session.ok(["secret", "update", "db", "--wait", "--timeout", "30s"], { stdin: "second" });
    expect(secret()).toBe("second");
  });

  it("stays as it is when it is installed again", async ({ expect }) => {
    const before = (await inside("stat -c '%i %Y' /usr/bin/hatchway-agent /etc/init.d/hatchway-agent")).stdout;
    expect((await install()).stdout).toBe('"root@127.0.0.1" has it all already\n');
    expect((await inside("stat -c '%i %Y' /usr/bin/hatchway-agent /etc/init.d/hatchway-agent")).stdout).toBe(before);
  });

  it("is put right where it was damaged, and started again when it was killed", async ({ expect }) => {
    await inside("printf x >>/etc/init.d/hatchway-agent");
    expect((await install()).stdout).toContain("wrote /etc/init.d/hatchway-agent");
    await until("the agent runs", () => holder().startsWith("run "));
    process.kill(Number(holder().slice("run ".length)), "SIGKILL");
    await session.ok(["secret", "update", "db", "--wait", "--timeout", "40s"], { stdin: "third" });
    expect(secret()).toBe("third");
  });

  it("reloads, stops and starts by its init", async ({ expect }) => {
    expect((await inside(`${service} reload`)).code).toBe(0);
    expect((await inside(`${service} status`)).code).toBe(0);
    expect((await inside(`${service} stop`)).code).toBe(0);
    expect((await inside(`${service} status`)).code).not.toBe(0);
    await session.ok(["secret", "update", "db"], { stdin: "fourth" });
    expect((await inside(`${service} start`)).code).toBe(0);
    await until("the new secret is there", () => secret() === "fourth");
  });

  it("is there after a first boot of cloud-init as well", async ({ expect }) => {
    await inside(`${service} stop; rm -f /usr/bin/hatchway-agent /etc/init.d/hatchway-agent`);
    const text = await session.ok(["agent", "cloud-init", "--from", "unix-serial:/run/host/ssh.sock"]);
    expect(text.startsWith("#cloud-config\n")).toBe(true);
    const { write_files: files, runcmd } = parse(text) as CloudConfig;
    // As cloud-init's modules write_files and runcmd do it.
    for (const { path, permissions, encoding, content } of files) {
      expect(encoding).toBe("gz+b64");
      writeFileSync(guest.path(`${GUEST_ROOT}${path}`), gunzipSync(Buffer.from(content, "base64")), {
        mode: Number.parseInt(permissions, 8),
      });
    }
    for (const command of runcmd) expect((await inside(command)).code).toBe(0);
    await session.ok(["secret", "update", "db", "--wait", "--timeout", "40s"], { stdin: "of the cloud" });
    expect(secret()).toBe("of the cloud");
    expect((await inside("ls /run/hatchway-install")).code).not.toBe(0);
    const small = await session.ok(["agent", "cloud-init", "--url", "https://files.example/agent"]);
    expect(small.length).toBeLessThan(8_000);
    expect((await session.run(["agent", "cloud-init", "--url", "https://x/';id"])).code).toBe(2);
  });

  it("is not put in place when it arrives cut or changed", async ({ expect }) => {
    writeFileSync(join(folder, "script"), readFileSync("guest/ssh/install"));
    const sha256 = createHash("sha256").update(AGENT.subarray(0, -1)).digest("hex");
    const plan = `printf '${sha256} plain -\\n'; head -c 1000 ${COMPILED.command[0] ?? ""}`;
    const run = `(${plan}) | chroot ${GUEST_ROOT} /bin/sh -c "$(cat ${folder}/script)" hatchway cut`;
    const { code, stderr } = await guest.run(["sh", "-c", run]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("the agent arrived damaged, or the connection ended in the middle");
    expect((await inside("ls /usr/bin | grep hatchway")).stdout).toBe("hatchway-agent\n");
    expect((await install("--init", "sysv")).code).toBe(2);
    expect((await install("--from", "unix:/a b")).code).toBe(2);
  });
});
