// vm launch --enrol in real VMs: the token of a boot is the first agent's, and what stays in the firmware is worth nothing.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const DB = "/run/hatchway/secrets/db";
const words = {
  "fw-cfg": "cat /sys/firmware/qemu_fw_cfg/by_name/opt/org.hatchway/enrol/raw",
  smbios: "strings /sys/firmware/dmi/entries/11-0/raw | sed -n 's/^org.hatchway.enrol=//p'",
};

describe("a VM that enrols", () => {
  let session: Session;
  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0400"], { stdin: "canary-enrolled" });
  });
  afterAll(() => session[Symbol.asyncDispose]());

  const enrolment = async (vm: string): Promise<unknown> => (await session.vm(vm)).convergence.enrolment;
  const alarms = async (vm: string): Promise<string[]> =>
    (await session.vm(vm)).convergence.alarms.map(({ what }) => what);
  /** Another process of root's, with a key of its own. */
  const thief = async (vm: string): Promise<string> => {
    const { code, stdout, stderr } = await session.tryGuest(
      vm,
      "mkdir -p /run/thief && hatchway-agent sync --root /run/thief 2>&1",
    );
    return `${code} ${stdout}${stderr}`;
  };
  const spent = "1 error: the token of this boot is spent: another process may have the secrets\n";

  it("gives its secrets to the first to use its token, and to nobody else, nor after a reboot", async ({ expect }) => {
    const flags = ["--secret", "db", "--enrol", "--append", "hatchway.agent=off"];
    await session.ok(["vm", "launch", "v1", ...flags]);
    await session.guest("v1", "until [ -d /sys/firmware/qemu_fw_cfg/by_name ]; do sleep 0.1; done");
    expect(await enrolment("v1")).toEqual({ state: "waiting", reboots: 0 });
    const word = await session.guest("v1", words["fw-cfg"]);
    expect(word).toMatch(/^1\.[0-9a-f]{32}\.[0-9a-f]{64}\.[0-9a-f]{64}$/);
    expect((await session.tryGuest("v1", `su app -c '${words["fw-cfg"]}'`)).code).not.toBe(0);
    const { pid = 0 } = await session.vm("v1");
    const token = word.split(".")[2] ?? "";
    for (const file of ["cmdline", "environ"])
      expect(readFileSync(`/proc/${pid}/${file}`, "latin1")).not.toContain(token);

    expect(await session.guest("v1", `hatchway-agent sync && cat ${DB}`)).toMatch(/^1 secret, .*\ncanary-enrolled$/);
    expect((await session.ok(["vm", "show", "v1"])).replaceAll(/ +/g, " ")).toContain(
      "enrolment enrolled, 0 reboots left",
    );
    expect(await alarms("v1")).toEqual([]);
    expect(await thief("v1")).toBe(spent);
    expect(await alarms("v1")).toEqual(["second enrolment"]);
    expect((await session.run(["vm", "status", "v1"])).stderr).toMatch(/^ALARM: vm "v1": second enrolment, 1 time/m);
    // Whoever has the claim goes on.
    expect(await session.guest("v1", "hatchway-agent sync")).toMatch(/^1 secret/);
    expect(readFileSync(`${session.state}/store.db`).includes(token)).toBe(false);

    await reboot(session, "v1");
    await session.guest("v1", "until [ -d /sys/firmware/qemu_fw_cfg/by_name ]; do sleep 0.1; done");
    expect(await session.guest("v1", words["fw-cfg"])).toBe(word);
    expect(await thief("v1")).toBe(spent);
    expect((await session.ok(["vm", "show", "v1"])).replaceAll(/ +/g, " ")).toContain("enrolment spent");
    expect((await session.tryGuest("v1", "hatchway-agent sync")).code).toBe(1);

    await session.ok(["vm", "stop", "v1", "--grace", "1ms"]);
    await session.ok(["vm", "start", "v1"]);
    const retry = "until hatchway-agent sync 2>/dev/null; do sleep 0.1; done";
    expect(await session.guest("v1", `${retry} && cat ${DB}`)).toContain("canary-enrolled");
    await session.ok(["vm", "remove", "v1"]);
  });

  it("has them again after as many reboots as it may, with the agent that is always there", async ({ expect }) => {
    await session.ok(["secret", "create", "two", "--uid", "1000"], { stdin: "canary-one" });
    const flags = ["--secret", "two", "--enrol", "smbios", "--reboots", "1"];
    await session.ok(["vm", "launch", "v2", ...flags, "--wait", "--timeout", "120s"]);
    expect(await enrolment("v2")).toEqual({ state: "enrolled", reboots: 1 });
    const word = await session.guest("v2", words.smbios);
    const { generation } = (await session.vm("v2")).convergence;
    await reboot(session, "v2");
    await session.ok(["vm", "status", "v2", "--wait", "--timeout", "120s"]);
    expect((await session.vm("v2")).convergence.generation).toBe(generation + 1);
    expect(await enrolment("v2")).toEqual({ state: "enrolled", reboots: 0 });
    expect(await session.guest("v2", words.smbios)).toBe(word);
    await session.ok(["secret", "update", "two", "--wait", "--timeout", "60s"], { stdin: "canary-two" });
    expect(await session.guest("v2", "cat /run/hatchway/secrets/two")).toBe("canary-two");
    expect(await alarms("v2")).toEqual([]);
    await session.ok(["vm", "remove", "v2"]);
  });

  it("is refused what contradicts it", async ({ expect }) => {
    const refusals: [words: string[], text: string][] = [
      [["--enrol", "acpi"], '--enrol "acpi" is neither fw-cfg nor smbios'],
      [["--reboots", "1"], "--reboots is of --enrol"],
      [["--enrol", "smbios", "--firmware", "smbios"], "--enrol is for secrets that come live"],
    ];
    for (const [flags, text] of refusals) {
      const { code, stderr } = await session.run(["vm", "launch", "v3", "--secret", "db", ...flags]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(text)]);
    }
  });
});

/** Within one process of QEMU; resolves when the host has seen it. */
async function reboot(session: Session, vm: string): Promise<void> {
  const before = (await session.vm(vm)).convergence.generation;
  const gone = session.run(["vm", "shell", vm, "--", "reboot", "-f"], { timeout: 20_000 });
  while ((await session.vm(vm)).convergence.generation === before) await sleep(50);
  await gone;
}
