// Hybrid vsock with a real device and a real guest: a VM that something else runs, where any process may call the host.
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";
import { VsockGuest } from "#test/kit/vsock-guest";

const VM = "v1";
const ROOT = "/run/hatchway/secrets";
const binary = randomBytes(200_000);

/** A request as a process of the guest writes it by itself. */
function raw(line: string, { key, body = "" }: { key?: string; body?: string } = {}): string {
  const authorization = key === undefined ? "" : `Authorization: Hatchway ${key}\r\n`;
  const length = line.startsWith("POST") ? `Content-Length: ${body.length}\r\n` : "";
  return `${line} HTTP/1.1\r\nHost: hatchway\r\nConnection: close\r\n${authorization}${length}\r\n${body}`;
}

const statusOf = (answer: string): string => answer.slice(9, 12);
const claim = (key: string): string => raw("POST /v1/claim", { body: JSON.stringify({ key }) });

async function external(session: Session): Promise<string> {
  await session.ok(["secret", "create", "binary"], { stdin: binary });
  await session.ok(["secret", "create", "word"], { stdin: "canary-before" });
  await session.ok(["vm", "create", VM, "--external", "--secret", "binary", "--secret", "word"]);
  const uds = (await session.vm(VM)).channels.find(({ kind }) => kind === "vsock")?.path;
  if (uds === undefined) throw new Error("the vm has no vsock channel");
  return uds;
}

/** All that a process could ask for without the agent's key. */
const QUESTIONS = ["GET /v1/bundle", "GET /v1/manifest", "GET /v1/secrets/word", "HEAD /v1/secrets/word", "GET /v1/no"];

describe("a guest on hybrid vsock, its agent first", () => {
  let session: Session;
  let guest: VsockGuest;

  beforeAll(async () => {
    session = await Session.start();
    guest = await VsockGuest.boot(await external(session));
    await session.ok(["vm", "status", VM, "--wait", "--timeout", "60s"]);
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
  });

  it("has the exact bytes, by way of the kernel's vsock", async ({ expect }) => {
    const sum = await guest.output(`sha256sum < ${ROOT}/binary`);
    expect(sum.split(" ")[0]).toBe(createHash("sha256").update(binary).digest("hex"));
    expect(await guest.output("hatchway-agent status | grep source")).toContain("vsock:2:5107");
  });

  it("gets an update while it runs", async ({ expect }) => {
    await session.ok(["secret", "update", "word", "--wait"], { stdin: "canary-after" });
    expect(await guest.output(`cat ${ROOT}/word`)).toBe("canary-after");
  });

  it("an unprivileged process that calls the host by itself gets nothing, whatever it asks", async ({ expect }) => {
    const answers = new Set<string>();
    for (const line of QUESTIONS) {
      for (const key of [undefined, "0".repeat(64)]) {
        const answer = await guest.ask(raw(line, key === undefined ? {} : { key }));
        expect(statusOf(answer), line).toBe("401");
        answers.add(answer.replace(/^date:.*\r\n/im, "").replace(/\r\n\r\n.*/s, ""));
      }
    }
    // What there is and what there is not are the same to him.
    expect(answers.size).toBe(1);
    expect(statusOf(await guest.ask(claim("1".repeat(64))))).toBe("409");
    expect(await guest.ask(raw("GET /v1/bundle", { key: "1".repeat(64) }))).not.toContain("canary");
  });

  it("and the host shows that one has tried", async ({ expect }) => {
    const { convergence } = await session.vm(VM);
    expect(convergence.alarms.map(({ what }) => what)).toContain("second claim");
    const { stderr } = await session.run(["vm", "status", VM]);
    expect(stderr).toMatch(/^ALARM: vm "v1": second claim/m);
  });

  it("is one generation with its agent, whatever else calls", async ({ expect }) => {
    await session.ok(["secret", "update", "word", "--wait"], { stdin: "canary-still" });
    expect(await guest.output(`cat ${ROOT}/word`)).toBe("canary-still");
  });
});

describe("a guest on hybrid vsock, another process first", () => {
  const intruder = "a".repeat(64);
  let session: Session;
  let guest: VsockGuest;

  beforeAll(async () => {
    session = await Session.start();
    guest = await VsockGuest.boot(await external(session), "hatchway.agent=off");
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
  });

  it("gives nothing without a claim", async ({ expect }) => {
    for (const line of QUESTIONS) expect(statusOf(await guest.ask(raw(line)))).toBe("401");
  });

  it("takes the first claim, as it must", async ({ expect }) => {
    expect(statusOf(await guest.ask(claim(intruder)))).toBe("200");
    expect(await guest.ask(raw("GET /v1/secrets/word", { key: intruder }))).toContain("canary-before");
  });

  it("refuses each later claim, the agent's too, and raises an alarm", async ({ expect }) => {
    expect(statusOf(await guest.ask(claim("b".repeat(64)), "other"))).toBe("409");
    const sync = await guest.run("hatchway-agent sync --from vsock:2:5107");
    expect(sync.code).not.toBe(0);
    expect(sync.output.toString()).toContain("another process of this guest has claimed its secrets");
    const { stdout, stderr } = await session.run(["vm", "status", VM]);
    expect(stderr).toMatch(/^ALARM: vm "v1": second claim/m);
    expect(stdout).toMatch(/applied +nothing yet/);
  });

  it("keeps the claim when the daemon is started again", async ({ expect }) => {
    await session.end("SIGKILL");
    await session.serve();
    expect(statusOf(await guest.ask(claim("b".repeat(64))))).toBe("409");
    expect(statusOf(await guest.ask(raw("GET /v1/manifest", { key: intruder })))).toBe("200");
  });

  it("is another generation once its machine is another process: the agent claims, the old key is void", async ({
    expect,
  }) => {
    const before = (await session.vm(VM)).convergence.generation;
    await guest.stop();
    await guest.start();
    await session.ok(["vm", "status", VM, "--wait", "--timeout", "60s"]);
    expect((await session.vm(VM)).convergence.generation).toBeGreaterThan(before);
    expect(statusOf(await guest.ask(raw("GET /v1/bundle", { key: intruder })))).toBe("401");
    expect(await guest.output(`cat ${ROOT}/word`)).toBe("canary-before");
  });
});

describe("a guest on hybrid vsock that enrols", () => {
  let session: Session;
  let guest: VsockGuest;
  const alarms = async (): Promise<string[]> => (await session.vm(VM)).convergence.alarms.map(({ what }) => what);
  const isShown = "until [ -d /sys/firmware/qemu_fw_cfg/by_name ]; do sleep 0.1; done";
  /** What `vm enrol` says that QEMU is to be told. */
  const token = async (...flags: string[]): Promise<string[]> => {
    const path = join(session.state, `token-${flags.length}`);
    const said = await session.ok(["vm", "enrol", VM, "--out", path, ...flags]);
    return (said.split("tell QEMU of it: ")[1] ?? "").trim().split(" ");
  };

  beforeAll(async () => {
    session = await Session.start();
    const uds = await external(session);
    guest = await VsockGuest.boot(uds, "hatchway.agent=off", await token());
    await guest.output(isShown);
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
  });

  it("gives an unprivileged process nothing, though it comes first", async ({ expect }) => {
    for (const line of QUESTIONS) expect(statusOf(await guest.ask(raw(line)))).toBe("401");
    expect(statusOf(await guest.ask(claim("a".repeat(64))))).toBe("401");
    expect(await alarms()).toEqual([]);
    const [guestKey, nonce, mac] = ["b", "c", "d"].map((digit) => digit.repeat(64));
    const guess = raw("POST /v1/enrol", { body: JSON.stringify({ guest: guestKey, nonce, mac }) });
    expect(statusOf(await guest.ask(guess))).toBe("401");
    expect(await alarms()).toEqual(["wrong enrolment"]);
    expect((await guest.run("su app -c 'hatchway-agent sync'")).code).toBe(1);
  });

  it("gives its secrets to the agent, which alone has the token's use", async ({ expect }) => {
    expect(await guest.output("hatchway-agent sync")).toMatch(/^2 secrets/);
    expect(await guest.output(`cat ${ROOT}/word`)).toBe("canary-before");
    const { code, output } = await guest.run("mkdir -p /run/thief && hatchway-agent sync --root /run/thief 2>&1");
    expect([code, output.toString()]).toEqual([1, expect.stringContaining("the token of this boot is spent")]);
    expect(await alarms()).toContain("second enrolment");
    expect((await session.ok(["vm", "show", VM])).replaceAll(/ +/g, " ")).toContain(
      "enrolment enrolled, 0 reboots left",
    );
  });

  it("is refused with the same token in another boot, and has another one in SMBIOS", async ({ expect }) => {
    const first = ["-fw_cfg", `name=opt/org.hatchway/enrol,file=${join(session.state, "token-0")}`];
    await guest.stop();
    await guest.start("hatchway.agent=off", first);
    await guest.output(isShown);
    expect((await guest.run("hatchway-agent sync")).output.toString()).toContain("is spent");
    expect((await session.ok(["vm", "show", VM])).replaceAll(/ +/g, " ")).toContain("enrolment spent");
    await guest.stop();
    await guest.start("", await token("--by", "smbios"));
    await session.ok(["vm", "status", VM, "--wait", "--timeout", "60s"]);
    expect(await guest.output(`cat ${ROOT}/word`)).toBe("canary-before");
  });
});
