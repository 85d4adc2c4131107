// vm launch --channel tcp, as a user types it: a guest that has nothing but a network to its host, and a certificate.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session, withGuests } from "#test/kit/session";

const ROOT = "/run/hatchway/secrets";
const FILE = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.hatchway/tls/raw";
const binary = randomBytes(200_000);

describe("a VM that comes by TLS", () => {
  let session: Session;
  beforeAll(async () => {
    session = await withGuests("10.0.2.2");
    await session.ok(["secret", "create", "binary", "--uid", "1000", "--mode", "0440"], { stdin: binary });
    await session.ok(["secret", "create", "word"], { stdin: "canary-before" });
    await session.ok(["secret", "create", "foreign"], { stdin: "canary-foreign" });
    const secrets = ["--secret", "binary", "--secret", "word"];
    await session.ok(["vm", "launch", "v1", "--channel", "tcp", ...secrets, "--wait", "--timeout", "60s"], {
      timeout: 120_000,
    });
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("has the exact bytes, by a port that nobody else has", async ({ expect }) => {
    const sum = await session.guest("v1", `sha256sum < ${ROOT}/binary; stat -c '%a %u' ${ROOT}/binary`);
    expect(sum).toBe(`${createHash("sha256").update(binary).digest("hex")}  -\n440 1000\n`);
    expect(await session.guest("v1", "hatchway-agent status")).toMatch(/^source +tls:10\.0\.2\.2:[0-9]+\n/);
    expect(await session.ok(["vm", "show", "v1"])).toContain("secrets by TLS over QEMU's user network");
    expect(readFileSync(join(session.state, "audit.jsonl"), "utf8")).toMatch(/"caller":"vm:[0-9a-f]{32},tcp"/);
  });

  it("follows a change while it runs, and says so", async ({ expect }) => {
    await session.ok(["secret", "update", "word", "--wait", "--timeout", "60s"], { stdin: "canary-after" });
    expect(await session.guest("v1", `cat ${ROOT}/word`)).toBe("canary-after");
  });

  it("shows what only its root can read, and is nowhere on the host", async ({ expect }) => {
    expect((await session.tryGuest("v1", `su app -c 'cat ${FILE}'`)).code).not.toBe(0);
    const { pid = 0 } = await session.vm("v1");
    const said = ["cmdline", "environ"].map((file) => readFileSync(`/proc/${pid}/${file}`, "latin1")).join("");
    expect(said).not.toMatch(/PRIVATE KEY|canary/);
    const kept = await session.run(["pki", "list", "--session", "--json"]);
    expect(kept.stdout).toContain('"kind": "guest"');
    expect(() => readFileSync(join(session.folder, "c/hatchway/pki/guest/v1.pem"))).toThrow("ENOENT");
  });

  it("trusts its host without a clock too, and no host by a clock that is wrong", async ({ expect }) => {
    const sync = "killall hatchway-agent; hatchway-agent sync --root /run/other";
    const now = (await session.guest("v1", "date +%s")).trim();
    expect(await session.guest("v1", `date -s @0 >/dev/null; ${sync} && cat /run/other/secrets/word`)).toContain(
      "canary-after",
    );
    const ahead = await session.tryGuest(
      "v1",
      `date -s 2100-01-01 >/dev/null; ${sync}; code=$?; date -s @${now}; exit $code`,
    );
    expect([ahead.code, ahead.stdout]).toEqual([1, expect.stringContaining("has expired by this guest's clock")]);
    expect(await session.guest("v1", `cat ${ROOT}/word`)).toBe("canary-after");
  });

  it("is that VM wherever it shows its file, and another VM's file brings the other's secrets alone", async ({
    expect,
  }) => {
    await session.ok(["vm", "create", "v2", "--external", "--secret", "foreign"]);
    const [, host = ""] = /Host: (\S+)/.exec(await session.guest("v1", `head -n 1 ${FILE}`)) ?? [];
    await session.ok(["pki", "guest", "v2", "--session", "--host", host]);
    const file = readFileSync(join(session.folder, "c/hatchway/pki/guest/v2.pem")).toString("base64");
    const as = "hatchway-agent sync --tls /root/v2.pem --root /run/v2";
    const write = `umask 077; echo ${file} | base64 -d >/root/v2.pem`;
    expect(await session.guest("v1", `${write}; ${as} && ls /run/v2/secrets && cat /run/v2/secrets/foreign`)).toContain(
      "foreign\ncanary-foreign",
    );
    await session.ok(["pki", "revoke", "guest/v2", "--session"]);
    const { code, stdout } = await session.tryGuest("v1", as);
    expect([code, stdout]).toEqual([1, expect.stringContaining("the host closed the connection")]);
  });

  it("is there again after a reboot, and after the daemon was started again", async ({ expect }) => {
    const [, port = ""] = /:([0-9]+)/.exec(await session.guest("v1", `head -n 1 ${FILE}`)) ?? [];
    await session.end("SIGKILL");
    writeFileSync(join(session.folder, "c/hatchway/config.yaml"), `guest-listen: ["127.0.0.1:${port}"]\n`);
    await session.serve();
    await session.ok(["secret", "update", "word", "--wait", "--timeout", "60s"], {
      stdin: "canary-last",
      timeout: 90_000,
    });
    await session.ok(["vm", "stop", "v1"]);
    await session.ok(["vm", "start", "v1", "--wait", "--timeout", "60s"], { timeout: 90_000 });
    expect(await session.guest("v1", `cat ${ROOT}/word`)).toBe("canary-last");
  });
});

describe("vm launch --channel tcp", () => {
  it("is refused, with the way out, where the guest would find nobody or another", async ({ expect }) => {
    await using bare = await Session.start();
    const none = await bare.run(["vm", "launch", "v1", "--channel", "tcp"]);
    expect([none.code, none.stderr]).toEqual([4, expect.stringContaining("no guests are served on the loopback")]);
    await using other = await withGuests("192.0.2.7");
    const misnamed = await other.run(["vm", "launch", "v1", "--channel", "tcp"]);
    expect([misnamed.code, misnamed.stderr]).toEqual([4, expect.stringContaining("is not for 10.0.2.2")]);
    expect((await other.run(["vm", "show", "v1"])).code).toBe(3);
    const both = await other.run(["vm", "launch", "v1", "--channel", "tcp", "--secrets-disk", "erofs"]);
    expect([both.code, both.stderr]).toEqual([2, expect.stringContaining("not in two of these ways")]);
  });
});
