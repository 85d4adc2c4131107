// doctor on the host and in the guest: quiet about what is well, and what mends the rest.
import { execFileSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from "vitest";
import { join } from "node:path";
import { COMPILED, GuestNamespace, ON_NODE } from "#test/kit/guest-namespace";
import { file, HostPeer } from "#test/kit/host-peer";
import { Session } from "#test/kit/session";

interface Finding {
  what: string;
  state: string;
  detail: string;
  mend?: string;
}

describe("hatchway doctor", () => {
  let session: Session;
  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "db"], { stdin: "canary-of-doctor" });
    await session.ok(["vm", "create", "web", "--external", "--secret", "db"]);
  });
  afterAll(() => session[Symbol.asyncDispose]());

  const look = async (...words: string[]): Promise<{ code: number; of: Map<string, Finding> }> => {
    const { code, stdout } = await session.run(["doctor", ...words, "--json"]);
    const findings = JSON.parse(stdout) as Finding[];
    return { code, of: new Map(findings.map((one) => [one.what, one])) };
  };

  it("has a line for each thing that is well, and ends with 0", async ({ expect }) => {
    const { code, stdout, stderr } = await session.run(["doctor"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ok {4}daemon +hatchway .* session, pid \d+/m);
    expect(stdout).toMatch(/^ok {4}store +sqlite/m);
    expect(stdout).toMatch(/^ok {4}vm web +defined, 1 secret, unknown$/m);
    expect(stdout.split("\n").filter((line) => line.startsWith("FAIL"))).toEqual([]);
  });

  it("looks at the sockets, the grants and the contact of one vm", async ({ expect }) => {
    const { code, of } = await look("web");
    expect(code).toBe(0);
    for (const what of ["vsock", "virtio-serial", "control", "grants"]) expect(of.get(what)?.state, what).toBe("ok");
    expect(of.get("contact")).toEqual({ what: "contact", state: "note", detail: "its guest has never asked" });
    expect((await session.run(["doctor", "nothing"])).code).toBe(3);
  });

  it("says how the token of a vm stands that enrols", async ({ expect }) => {
    await session.ok(["vm", "create", "own", "--external", "--secret", "db"]);
    expect((await look("own")).of.has("enrolment")).toBe(false);
    await session.ok(["vm", "enrol", "own", "--out", join(session.state, "token")]);
    const { code, of } = await look("own");
    expect([code, of.get("enrolment")?.detail]).toEqual([0, "nobody has used its token"]);
    expect(await session.ok(["vm", "status", "own"])).toMatch(/^enrolment +waiting for its guest, 0 reboots left$/m);
    const { stderr } = await session.run(["vm", "create", "two", "--external", "--enrol"]);
    expect(stderr).toContain("hatchway vm enrol two --out FILE");
    await session.ok(["vm", "remove", "own"]);
  });

  it("says of each thing that is amiss what mends it, and that mends it", async ({ expect }) => {
    const { control_socket: control, channels } = await session.vm("web");
    const serial = channels.find(({ kind }) => kind === "virtio-serial")?.path ?? "";
    execFileSync("sh", ["-c", `chmod 666 ${control}; rm ${serial}; chmod 755 ${session.state}`]);
    const { code, of } = await look("web");
    expect(code).toBe(1);
    expect(of.get("control")).toMatchObject({ state: "fail", detail: expect.stringContaining("0666: should be of") });
    expect(of.get("virtio-serial")).toMatchObject({ state: "fail", detail: `there is no socket "${serial}"` });
    const state = of.get("state");
    expect(state).toMatchObject({ state: "fail", mend: `chmod go-rwx ${session.state}` });
    execFileSync("sh", ["-c", state?.mend ?? "false"]);
    await session.end("SIGTERM");
    await session.serve();
    expect((await look("web")).code).toBe(0);
    await session.ok(["vm", "detach", "web", "db"]);
    const none = (await look("web")).of.get("grants");
    expect(none).toMatchObject({ state: "warn", mend: "hatchway vm attach web SECRET" });
    await session.ok(["vm", "attach", "web", "db"]);
  });

  it("tells sealed keys, and a daemon that is not there", async ({ expect }) => {
    await session.ok(["key", "seal"]);
    const sealed = await look();
    expect([sealed.code, sealed.of.get("store")?.mend]).toEqual([1, "hatchway key unseal"]);
    await session.ok(["key", "unseal"]);
    await session.end("SIGTERM");
    const gone = await look();
    expect([gone.code, gone.of.get("daemon")?.mend]).toEqual([
      1,
      "hatchway serve --session --background, or as root --system",
    ]);
    expect(gone.of.has("qemu")).toBe(true);
    await session.serve();
  });
});

describe.each([COMPILED, ON_NODE])("hatchway-agent doctor, $name", ({ command }) => {
  let guest: GuestNamespace;
  let host: HostPeer;
  beforeEach(async () => {
    guest = await GuestNamespace.open();
    // What this machine has of devices is not the guest's.
    guest.shell("mount -t tmpfs tmpfs /dev && mount -t tmpfs tmpfs /sys");
    host = new HostPeer();
    await host.listen(join(guest.outside, "api"));
  });
  afterEach(async () => {
    await host.close();
    await guest.close();
  });

  const look = async (...before: string[]): Promise<{ code: number | null; of: Map<string, Finding> }> => {
    const { code, stdout } = await guest.run([...before, ...command, "doctor", "--json"]);
    return { code, of: new Map((JSON.parse(stdout) as Finding[]).map((one) => [one.what, one])) };
  };

  it("says that there is no way to a host, and changes nothing", async ({ expect }) => {
    const { code, of } = await look();
    expect(code).toBe(1);
    expect(of.get("source")).toMatchObject({ state: "fail", mend: expect.stringContaining("--from SOURCE") });
    expect(of.get("exchange")?.state).toBe("ok");
    expect([of.get("token")?.state, of.get("key")?.state]).toEqual(["none", "none"]);
    expect(of.get("agent")).toMatchObject({ state: "none", mend: "hatchway-agent run, or sync" });
    guest.shell("! test -e /run/hatchway");
    expect((await guest.run([...command, "doctor"])).stdout).toMatch(/^FAIL {2}source +no way to a host is found$/m);
  });

  it("says what is in force, what was refused, and that the host is gone", async ({ expect }) => {
    host.set(file("a", "canary-of-doctor"), file("b", "x", { user: "nobody-here" }));
    const sync = [...command, "sync", "--from", `unix:${join(guest.outside, "api")}`];
    await guest.run(sync);
    const { of } = await look();
    expect(of.get("memory")?.detail).toContain("/run/hatchway is tmpfs");
    expect(of.get("set")).toMatchObject({ state: "ok", detail: expect.stringContaining("from unix:") });
    expect(of.get("refused")).toMatchObject({ detail: '"b": this guest has no user "nobody-here"' });
    await host.close();
    await guest.run(sync);
    expect((await look()).of.get("host")).toMatchObject({ state: "fail", mend: "on the host: hatchway doctor NAME" });
    expect(JSON.stringify([...of.values()])).not.toContain("canary");
    host = new HostPeer();
    await host.listen(join(guest.outside, "again"));
  });

  it("finds a kernel or sandbox that refuses renameat2", async ({ expect }) => {
    const { of } = await look("strace", "-f", "-o", "/run/trace", "-e", "inject=renameat2:error=ENOSYS");
    expect(of.get("exchange")).toMatchObject({
      state: "fail",
      detail: expect.stringContaining("renameat2 is refused"),
    });
  });
});
