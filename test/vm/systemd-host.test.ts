// Hatchway as a service of a real systemd 257, whose secrets reach units of the same host, with a TPM2: one boot.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { BootGuest } from "#channel";
import { fwCfg } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import { adminRequest } from "#test/kit/admin-request";
import { bundleOf } from "#test/kit/case-bundle";
import { bootHost } from "#test/kit/systemd-host";
import { Swtpm, WITH_TPM } from "#test/kit/swtpm";
import type { SystemdGuest } from "#test/kit/systemd-guest";
import { until } from "#test/kit/until";
import type { FirmwareItem } from "#vmm";

const SOCKET = "/run/hatchway-host/credentials.sock";
const STARTED = "0 active\n";
/** systemd.exec(5): 243 is EXIT_CREDENTIALS. */
const FAILED = "243 failed\n";
const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** A service that writes down what it was given, and as whom. */
const consumer = (load: string, id: string = "db"): string => `[Unit]
DefaultDependencies=no
[Service]
Type=exec
User=daemon
${load}
ExecStart=/bin/sh -c '(sha256sum <"$CREDENTIALS_DIRECTORY/${id}"; id -u) >/tmp/%n; exec sleep infinity'
`;
const KEPT = "db-password:/etc/credstore.encrypted/db-password";
const FILES = {
  "/etc/hatchway/config.yaml": "vsock-local: loop\n",
  "/etc/hatchway/credentials.policy": "allow live.service db=db-password\non-change live.service restart\n",
  "/etc/systemd/system/live.service": consumer(`LoadCredential=db:${SOCKET}`),
  "/etc/systemd/system/stranger.service": consumer(`LoadCredential=db:${SOCKET}`),
  "/etc/systemd/system/kept.service": consumer(`LoadCredentialEncrypted=${KEPT}`, "db-password"),
};

/** What comes of a call to the host's port, from the host itself: struct sockaddr_vm of vsock(7). */
const CALL =
  `perl -e 'socket(my $s, 40, 1, 0) or die "socket: $!\\n"; ` +
  `print connect($s, pack("SSLLL", 40, 0, 5107, 2, 0)) ? "connected\\n" : "$!\\n"'`;

/** Plain text, text of two lines, every byte, and nothing: as text or in base64, as each way has it. */
const valuesOf = (way: string): Record<string, Buffer> => ({
  [`${way}-text`]: Buffer.from("one line = this"),
  [`${way}-lines`]: Buffer.from("two\nlines\n"),
  [`${way}-bytes`]: Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256)),
  [`${way}-empty`]: Buffer.alloc(0),
});
const FIRMWARE = { ...valuesOf("fw"), ...valuesOf("sm") };

/** What `vm launch --firmware … --credentials` puts there, by both ways. */
async function firmware(): Promise<FirmwareItem[]> {
  const systemd: BootGuest = { reader: "systemd", memoryMiB: WITH_TPM.memoryMiB, allowReserved: false };
  const both = [
    await fwCfg.compose(bundleOf(valuesOf("fw")), systemd),
    await smbios.compose(bundleOf(valuesOf("sm")), systemd),
  ];
  return both.flatMap(({ items }) => items);
}

describe("the host's own systemd", () => {
  let guest: SystemdGuest;
  let tpm: Swtpm;
  beforeAll(async () => {
    tpm = await Swtpm.start();
    guest = await bootHost(FILES, ["hatchway.socket"], { firmware: await firmware(), ...WITH_TPM });
    await guest.output("true");
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await tpm[Symbol.asyncDispose]();
  });

  const ask = (method: string, path: string, body?: object | string): Promise<string> =>
    guest.output(adminRequest(method, path, body));
  const show = (unit: string, ...properties: string[]): Promise<string> =>
    guest.output(`systemctl show --value -p ${properties.join(",")} ${unit} | paste -s -d ' '`);
  const start = (unit: string): Promise<string> =>
    guest.output(
      `systemctl start ${unit} 2>/dev/null; systemctl show --value -p ExecMainStatus,ActiveState ${unit} | paste -s -d ' '`,
    );
  const noted = (unit: string): Promise<string> => guest.output(`cat /tmp/${unit} 2>/dev/null || true`);

  it("has imported what its firmware shows, byte by byte, by fw_cfg and by SMBIOS, for root alone", async ({
    expect,
  }) => {
    const names = Object.keys(FIRMWARE).toSorted();
    const script = `ls /run/credentials/@system; ${names.map((name) => `systemd-creds --system cat ${name} | sha256sum`).join("; ")}`;
    const sums = names.map((name) => `${sha256(FIRMWARE[name] ?? "")}  -`);
    expect((await guest.output(script)).trim().split("\n")).toEqual([...names, ...sums]);
    expect(await guest.output("systemd-creds --system list --no-legend | wc -l")).toBe(`${names.length}\n`);
    const asUser = await guest.run("setpriv --reuid 1000 --clear-groups cat /run/credentials/@system/fw-text");
    expect(asUser.output.toString()).toContain("Permission denied");
  });

  it("starts the daemon for the first who calls, and takes it for ready when it serves", async ({ expect }) => {
    expect(await show("hatchway.service", "ActiveState")).toBe("inactive\n");
    expect(JSON.parse(await ask("GET", "/status"))).toMatchObject({
      mode: "system",
      socket: "/run/hatchway/hatchway.sock",
    });
    await until("systemd takes it for ready", async () => {
      const state = await show("hatchway.service", "ActiveState", "StatusText");
      return state === "serves on /run/hatchway/hatchway.sock active\n";
    });
    expect(await guest.output("stat -c '%a %u' /run/hatchway /run/hatchway/hatchway.sock /var/lib/hatchway")).toBe(
      "711 0\n600 0\n700 0\n",
    );
  });

  it("confines it as docs/systemd.md says", async ({ expect }) => {
    const said = await guest.output(
      "systemd-analyze security --offline=yes /opt/hatchway/host/systemd/hatchway.service | tail -1",
    );
    const [, score] = /level for hatchway.service: ([0-9.]+)/.exec(said) ?? [];
    const [, documented] = /hatchway.service` says ([0-9.]+)\./.exec(readFileSync("docs/systemd.md", "utf8")) ?? [];
    expect(score).toBe(documented);
    const pid = (await show("hatchway.service", "MainPID")).trim();
    expect(await guest.output(`grep -E '^(NoNewPrivs|CapEff|Seccomp):' /proc/${pid}/status | tr '\\t\\n' '  '`)).toBe(
      "CapEff: 00000000100001eb NoNewPrivs: 1 Seccomp: 2 ",
    );
    expect((await guest.run(`nsenter -m -t ${pid} touch /usr/x`)).output.toString()).toContain("Read-only file system");
  });

  it("gives a unit of the host what the policy allows it, and a change at once", async ({ expect }) => {
    await ask("POST", "/secrets", { name: "db-password", data: Buffer.from("canary-1").toString("base64") });
    await ask("POST", "/vms", { name: "host", runner: "root", secrets: ["db-password"] });
    await guest.output("systemctl start hatchway-host.service hatchway-host-credentials.service");
    expect(await start("live.service")).toBe(STARTED);
    await until("live.service has its credential", async () => (await noted("live.service")).endsWith("\n1\n"));
    expect(await noted("live.service")).toBe(`${sha256("canary-1")}  -\n1\n`);
    expect(await start("stranger.service")).toBe(FAILED);
    await ask("PUT", "/secrets/db-password/value", "canary-2");
    await until("live.service has the new one", async () =>
      (await noted("live.service")).startsWith(sha256("canary-2")),
    );
    expect(JSON.parse(await ask("GET", "/vms/host"))).toMatchObject({ convergence: { in_sync: true, applied: 2 } });
  });

  it("keeps for a unit what credstore sync had it encrypt, and takes back what is detached", async ({ expect }) => {
    expect(await guest.output("hatchway credstore sync --with-key tpm2")).toMatch(/db-password +2 +encrypted\n$/);
    expect(await start("kept.service")).toBe(STARTED);
    await until("kept.service has its credential", async () => (await noted("kept.service")).endsWith("\n1\n"));
    expect(await noted("kept.service")).toBe(`${sha256("canary-2")}  -\n1\n`);
    await ask("DELETE", "/vms/host/secrets/db-password");
    expect(await guest.output("hatchway credstore sync")).toMatch(/db-password +removed\n$/);
    await guest.output("systemctl stop kept.service live.service");
    expect(await start("kept.service")).toBe(FAILED);
    await until("the agent has removed it", async () => {
      return (await guest.run("test -e /run/hatchway-host/secrets/db-password")).code !== 0;
    });
    expect(await start("live.service")).toBe(FAILED);
  });

  it("serves a CID of AF_VSOCK while the process is seen that has the VM, and no other caller", async ({ expect }) => {
    expect(await guest.output(CALL)).toBe("Connection reset by peer\n");
    const pid = Number(
      await guest.output("setpriv --reuid 1 --regid 1 --clear-groups sleep infinity >/dev/null & echo $!"),
    );
    await ask("POST", "/secrets", { name: "over-vsock", data: Buffer.from("canary-vsock").toString("base64") });
    const body = await ask("POST", "/vms", { name: "loop", adopt: { pid }, secrets: ["over-vsock"] });
    expect(JSON.parse(body)).toMatchObject({ state: "running", pid, runner: { uid: 1 } });
    expect(await guest.output(CALL)).toBe("connected\n");
    const sync = "hatchway-agent sync --from vsock:2:5107 --root /run/loop";
    expect(await guest.output(`${sync} && sha256sum </run/loop/secrets/over-vsock`)).toContain(sha256("canary-vsock"));
    expect(JSON.parse(await ask("GET", "/vms/loop"))).toMatchObject({
      convergence: { in_sync: true },
    });
    const second = await guest.run("hatchway-agent sync --from vsock:2:5107 --root /run/other");
    expect(second.output.toString()).toContain("claimed");
    await guest.output(`kill ${pid}`);
    await until(
      "the end of the process is seen",
      async () => JSON.parse(await ask("GET", "/vms/loop")).state !== "running",
    );
    expect((await guest.run(sync)).code).not.toBe(0);
    expect(await guest.output("cat /var/lib/hatchway/daemon.log")).toContain(
      'refused a call from CID 1: no process is seen that has vm "loop"',
    );
    await ask("DELETE", "/vms/loop");
    expect(await guest.output(CALL)).toBe("Connection reset by peer\n");
  });

  it("opens its keys by the TPM2 of the host alone", async ({ expect }) => {
    const key = "/etc/credstore.encrypted/hatchway-key";
    await guest.output(`hatchway key add-way systemd-credential --seal-to ${key} --with-key tpm2`);
    await ask("DELETE", "/keys/ways/key-file");
    await guest.output("rm /etc/hatchway/root.key");
    expect(JSON.parse(await ask("GET", "/keys"))).toMatchObject({ ways: [{ kind: "systemd-credential" }] });
  });

  it("starts it again with what its VMs have going on, and refuses nobody meanwhile", async ({ expect }) => {
    const cgroup = "/sys/fs/cgroup/system.slice/hatchway.service/cgroup.procs";
    const vm = (await guest.output(`sleep infinity >/dev/null & echo $! | tee ${cgroup}`)).trim();
    const before = (await show("hatchway.service", "MainPID")).trim();
    await guest.output("systemctl --no-block restart hatchway.service");
    await until("it is another process", async () => {
      const now = (await show("hatchway.service", "MainPID")).trim();
      return now !== before && now !== "0";
    });
    expect(JSON.parse(await ask("GET", "/status"))).toMatchObject({ secrets: 2 });
    expect(await guest.output(`grep -c . ${cgroup}; kill -0 ${vm} && echo lives`)).toBe("2\nlives\n");
    await until("the host's agent is back", async () => {
      return JSON.parse(await ask("GET", "/vms/host")).convergence.in_sync === true;
    });
  });

  it("sees it alive, and no value is in its log", async ({ expect }) => {
    await until(
      "it has given a sign of life",
      async () => (await show("hatchway.service", "WatchdogTimestampMonotonic")) !== "0\n",
    );
    expect(await show("hatchway.service", "NRestarts", "Result")).toBe("success 0\n");
    expect(await guest.output("dmesg; cat /var/lib/hatchway/daemon.log /var/lib/hatchway/audit.jsonl")).not.toContain(
      "canary",
    );
  });
});
