// The agent under a real systemd: Debian trixie's, process 1 of a real guest. One boot.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, it } from "vitest";
import { askCredential, REFUSED_BYTES } from "#test/kit/ask-credential";
import { file, HostPeer, type Given } from "#test/kit/host-peer";
import { SystemdGuest } from "#test/kit/systemd-guest";
import { until } from "#test/kit/until";

const SOCKET = "/run/hatchway/credentials.sock";
const STARTED = "0 active\n";
/** systemd.exec(5): 243 is EXIT_CREDENTIALS. */
const FAILED = "243 failed\n";
const binary = randomBytes(1_000_000);
const sha256 = (bytes: string | Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A service that writes down what it was given, and as whom. */
const consumer = (options: string = "", credential: string = "password"): string => `[Unit]
DefaultDependencies=no
Wants=hatchway-agent-credentials.service
After=hatchway-agent-credentials.service
[Service]
Type=exec
LoadCredential=${credential}:${SOCKET}
ExecStart=/bin/sh -c '(sha256sum <"$CREDENTIALS_DIRECTORY/${credential}"; id -u) >/tmp/%n; exec sleep infinity'
${options}
`;

const POLICY = `allow db.service password=db-password
on-change db.service restart
allow web.service password=db-password
on-change web.service reload
allow worker@.service password=token
allow large.service password=binary
allow alone.service password=binary
`;

const FILES = {
  "/etc/hatchway/credentials.policy": POLICY,
  "/etc/systemd/system/db.service": consumer("User=daemon"),
  "/etc/systemd/system/web.service": consumer("ExecReload=touch /tmp/web-reloaded"),
  "/etc/systemd/system/worker@.service": consumer(),
  "/etc/systemd/system/large.service": consumer(),
  "/etc/systemd/system/other.service": consumer(),
  "/etc/systemd/system/alone.service": consumer().replace("Wants=hatchway-agent-credentials.service\n", ""),
  // Where the test can read it: there is no journal so early.
  "/etc/systemd/system/hatchway-agent-credentials.service.d/log.conf":
    "[Service]\nStandardError=append:/tmp/credentials.log\n",
  // What `hatchway agent install` runs by ssh, which this guest has not.
  "/root/install": readFileSync(new URL("../../guest/ssh/install", import.meta.url), "utf8"),
};

const given = (password: string, ...more: Given[]): Given[] => [
  file("db-password", password),
  file("binary", binary),
  ...more,
];
const token = (): Given => file("token", "canary-token");

/** As one line of a shell. */
const ask = (name: string): string =>
  askCredential(name)
    .map((word) => `'${word}'`)
    .join(" ");

describe("credentials of systemd's units", () => {
  let guest: SystemdGuest;

  beforeAll(async () => {
    const host = new HostPeer();
    host.set(...given("canary-1", token()));
    guest = await SystemdGuest.boot(host, FILES, ["db.service", "web.service"]);
    await guest.output("true");
  });
  afterAll(() => guest[Symbol.asyncDispose]());

  const noted = (unit: string): Promise<string> => guest.output(`cat /tmp/${unit} 2>/dev/null || true`);
  /** Starts a unit, and gives its exit status and its state. */
  const start = (unit: string): Promise<string> =>
    guest.output(
      `systemctl start ${unit} 2>/dev/null; systemctl show --value -p ExecMainStatus,ActiveState ${unit} | paste -s -d ' '`,
    );
  const log = (): Promise<string> => guest.output("cat /tmp/credentials.log");

  it("are there for a unit of the boot itself that comes after the agent, whatever its user", async ({ expect }) => {
    await until("db.service has its credential", async () => (await noted("db.service")).endsWith("\n1\n"));
    expect(await noted("db.service")).toBe(`${sha256("canary-1")}  -\n1\n`);
    expect(await guest.output(`stat -c '%a %u' ${SOCKET}`)).toBe("600 0\n");
  });

  it("are exact, up to what systemd takes, also for an instance by its template's line", async ({ expect }) => {
    expect(await start("large.service")).toBe(STARTED);
    expect(await noted("large.service")).toBe(`${sha256(binary)}  -\n0\n`);
    expect(await start("worker@one.service")).toBe(STARTED);
    expect(await noted("worker@one.service")).toBe(`${sha256("canary-token")}  -\n0\n`);
  });

  it("are refused to a unit that the policy does not name, which then fails", async ({ expect }) => {
    expect(await start("other.service")).toBe(FAILED);
    expect(await log()).toContain('refused credential "password" to "other.service": policy');
  });

  it("are refused to root who is not that unit, and to who is not root", async ({ expect }) => {
    const named = ask("d2f60f82/unit/db.service/password");
    expect(await guest.output(`${named} | wc -c`)).toBe(`${REFUSED_BYTES}\n`);
    expect(await guest.output(`${ask("")} | wc -c`)).toBe(`${REFUSED_BYTES}\n`);
    const asUser = await guest.run(`setpriv --reuid 1000 --clear-groups ${named}`);
    expect(asUser.output.toString()).toBe("connect: Permission denied\n");
    expect(await log()).toMatch(
      /refused credential: process \d+ asks for "db.service" and belongs to "host-shell.service"/,
    );
  });

  it("bring a change: the unit that asks for it is started again with it, another is reloaded", async ({ expect }) => {
    guest.host.set(...given("canary-2", token()));
    await until("db.service has the new one", async () => (await noted("db.service")).startsWith(sha256("canary-2")));
    await until("web.service was reloaded", async () => (await guest.run("test -e /tmp/web-reloaded")).code === 0);
    // systemd 257 gives new credentials to who starts, not to who is reloaded.
    expect(await noted("web.service")).toContain(sha256("canary-1"));
  });

  it("are refused once the secret is gone, while the policy is not root's, and without the agent", async ({
    expect,
  }) => {
    guest.host.set(...given("canary-2"));
    await until("the secret is gone", async () => (await guest.run("test -e /run/hatchway/secrets/token")).code !== 0);
    expect(await start("worker@two.service")).toBe(FAILED);
    await guest.output("chown 1000 /etc/hatchway/credentials.policy");
    expect(await start("large.service")).toBe(STARTED);
    await guest.output("systemctl stop large.service");
    expect(await start("large.service")).toBe(FAILED);
    await guest.output("chown 0 /etc/hatchway/credentials.policy");
    expect(await start("large.service")).toBe(STARTED);
    await guest.output("systemctl stop hatchway-agent-credentials");
    expect(await start("alone.service")).toBe(FAILED);
  });

  it("are in no line of the log", async ({ expect }) => {
    expect(await log()).toContain('gave credential "password" to "db.service"');
    expect(await guest.output("dmesg; cat /tmp/credentials.log")).not.toContain("canary");
  });

  it("go on when the agent is installed anew: its unit is enabled, has another source, and is started again", async ({
    expect,
  }) => {
    const install = (from: string): Promise<string> =>
      guest.output(
        `sum=$(sha256sum /usr/bin/hatchway-agent); echo "\${sum%% *} auto ${from}" | sh /root/install t | sed 's/ [0-9a-f]*$//'`,
      );
    const pid = (): Promise<string> => guest.output("systemctl show --property MainPID --value hatchway-agent.service");
    const before = await pid();
    expect(await install("-")).toBe("t machine x86_64 systemd\nt did enabled it\nt done\n");
    expect(await pid()).toBe(before);
    const from = "virtio-serial:org.hatchway.0";
    const unit = "/etc/systemd/system/hatchway-agent.service";
    expect(await install(from)).toBe(`t machine x86_64 systemd\nt did wrote ${unit}\nt done\n`);
    await until("another agent is ready", async () => {
      const state = await guest.output("systemctl is-active hatchway-agent.service || true");
      return state === "active\n" && (await pid()) !== before;
    });
    expect(await guest.output(`tr '\\0' ' ' </proc/$(systemctl show -P MainPID hatchway-agent)/cmdline`)).toContain(
      from,
    );
    expect(await install(from)).toBe("t machine x86_64 systemd\nt done\n");
    expect(await guest.output("ls /etc/systemd/system/basic.target.wants")).toContain("hatchway-agent.service");
  });
});
