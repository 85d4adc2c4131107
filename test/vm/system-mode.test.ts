// The system daemon with VMs of two runners: what each runner can have, and what nobody else can.
import { afterAll, beforeAll, describe, it } from "vitest";
import { R1, R1_GROUP, R2, SystemHost, THIRD, type HostUser } from "#test/kit/system-host";

const FOLDER = (vm: string): string => `/run/hatchway/vm/${vm}`;
const SOCKETS = ["control.sock", "vsock_5107", "serial.sock", "ssh.sock", "console.sock", "qmp.sock", "shell.sock"];

interface Got {
  status: number;
  text: string;
}

/** `GET path` on a unix socket, in the words of `SystemHost.node`. */
const get = (socket: string, path: string): string => `await new Promise((resolve) => {
    http.get({ socketPath: ${JSON.stringify(socket)}, path: ${JSON.stringify(path)} }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolve({ status: answer.statusCode, text: Buffer.concat(chunks).toString("latin1") }));
    }).on("error", (error) => resolve({ status: 0, text: error.code }));
  })`;

describe("the system daemon", () => {
  let host: SystemHost;
  const pids: Record<string, number> = {};

  beforeAll(async () => {
    host = await SystemHost.start();
    await host.ok(["secret", "create", "first"], "canary of one");
    await host.ok(["secret", "create", "second"], "canary of two");
    const wait = ["--wait", "--timeout", "90s"];
    await Promise.all([
      host.ok(["vm", "launch", "one", "--secret", "first", "--runner", "r1", ...wait]),
      host.ok(["vm", "launch", "two", "--secret", "second", "--runner", "r2", ...wait]),
    ]);
    for (const vm of ["one", "two"]) pids[vm] = (await host.vm(vm)).pid ?? 0;
  });
  afterAll(() => host[Symbol.asyncDispose]());

  it("runs each VM as its runner, who owns its sockets and log alone", async ({ expect }) => {
    for (const [vm, { uid, gid, name }] of [
      ["one", R1],
      ["two", R2],
    ] as const) {
      const ids = await host.root(`grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapBnd):' /proc/${pids[vm]}/status`);
      expect(ids).toMatch(new RegExp(`^Uid:(\\t${uid}){4}$`, "m"));
      expect(ids).toMatch(new RegExp(`^Gid:(\\t${gid}){4}$`, "m"));
      expect(ids).toMatch(/^NoNewPrivs:\t1$/m);
      expect(ids).toMatch(/^CapBnd:\t0+$/m);
      const listing = await host.root(`cd ${FOLDER(vm)} && stat -c '%a %U %n' . *`);
      expect(listing.trim().split("\n").toSorted()).toEqual(
        ["1770 root .", ...[...SOCKETS, "console.log"].map((file) => `600 ${name} ${file}`)].toSorted(),
      );
    }
    expect(await host.root("stat -c '%a %U %G' /run/hatchway /run/hatchway/vm /run/hatchway/hatchway.sock")).toBe(
      "711 root root\n711 root root\n660 root hatchway\n",
    );
    expect(await host.root("stat -c '%a %U' /var/lib/hatchway /etc/hatchway /etc/hatchway/root.key")).toBe(
      "700 root\n700 root\n600 root\n",
    );
  });

  it("tells a runner what is his VM's, by its control socket", async ({ expect }) => {
    const control = `${FOLDER("one")}/control.sock`;
    const ask = (path: string) => host.node<Got>(R1, `return ${get(control, path)};`);
    expect(JSON.parse((await ask("/status")).text)).toMatchObject({ name: "one", state: "running" });
    expect((await ask("/arguments")).text).toContain(`${FOLDER("one")}/vsock`);
    const bundle = await ask("/bundle");
    expect(bundle).toMatchObject({ status: 200 });
    expect(bundle.text).toContain("canary of one");
    expect(bundle.text).not.toContain("canary of two");
    for (const path of ["/vms", "/vms/two", "/secrets", "/secrets/second", "/logs"]) {
      expect(await ask(path), path).toMatchObject({ status: 404 });
    }
  });

  const nothingOf = async (user: HostUser, vm: string): Promise<Record<string, string>> =>
    host.node(
      user,
      `
      const got = {};
      const attempt = (what, act) => { try { got[what] = String(act()).slice(0, 80); } catch (error) { got[what] = error.code; } };
      const folder = ${JSON.stringify(FOLDER(vm))}, proc = "/proc/${pids[vm]}";
      attempt("list", () => fs.readdirSync(folder));
      attempt("list vms", () => fs.readdirSync("/run/hatchway/vm"));
      attempt("write", () => fs.writeFileSync(folder + "/mine", ""));
      attempt("unlink", () => fs.unlinkSync(folder + "/control.sock"));
      attempt("log", () => fs.readFileSync(folder + "/console.log"));
      for (const file of ["environ", "mem", "maps", "auxv"]) attempt(file, () => fs.readFileSync(proc + "/" + file));
      for (const entry of ["exe", "cwd", "root"]) attempt(entry, () => fs.readlinkSync(proc + "/" + entry));
      attempt("fd", () => fs.readdirSync(proc + "/fd"));
      attempt("signal", () => process.kill(${pids[vm]}, "SIGTERM"));
      for (const path of ["/var/lib/hatchway", "/etc/hatchway", "/run/hatchway"]) attempt(path, () => fs.readdirSync(path));
      attempt("store", () => fs.readFileSync("/var/lib/hatchway/store.db"));
      attempt("audit", () => fs.readFileSync("/var/lib/hatchway/audit.jsonl"));
      for (const socket of [...${JSON.stringify(SOCKETS)}.map((name) => folder + "/" + name), "/run/hatchway/hatchway.sock"]) {
        got[socket] = await new Promise((resolve) => {
          const client = net.connect(socket, () => resolve("connected"));
          client.on("error", (error) => resolve(error.code));
        });
      }
      return got;`,
    );

  for (const [user, vm] of [
    [R1, "two"],
    [R2, "one"],
    [THIRD, "one"],
    [THIRD, "two"],
    [R1_GROUP, "two"],
  ] as const) {
    it(`gives ${user.name} nothing of vm ${vm}: socket, log, process, store`, async ({ expect }) => {
      const got = await nothingOf(user, vm);
      expect(Object.keys(got).length).toBeGreaterThan(20);
      expect(Object.entries(got).filter(([, answer]) => answer !== "EACCES" && answer !== "EPERM")).toEqual([]);
    });
  }

  it("refuses to run a VM as root, with the way out", async ({ expect }) => {
    for (const flags of [[], ["--runner", "root"], ["--runner", "0"]]) {
      const { code, stderr } = await host.run(["vm", "launch", "three", ...flags]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^error: vm "three" would run as root\nhint: useradd --system three-runner/);
    }
    expect((await host.run(["vm", "show", "three"])).code).toBe(3);
    // Nor by a detour.
    await host.ok(["vm", "create", "three"]);
    const { code, stderr } = await host.run(["vm", "start", "three"]);
    expect(code).toBe(2);
    expect(stderr).toContain('vm "three" would run as root');
    await host.ok(["vm", "remove", "three"]);
  });

  it("names the file that a runner cannot read", async ({ expect }) => {
    await host.root("cp /run/hatchway/guest/initrd.img /run/private.img && chmod 600 /run/private.img");
    const { code, stderr } = await host.run([
      "vm",
      "launch",
      "three",
      "--runner",
      "third",
      "--initrd",
      "/run/private.img",
    ]);
    expect(stderr).toMatch(/^error: initrd "\/run\/private.img" cannot be read by the runner third\nhint: .*\n$/);
    expect(code).toBe(5);
    expect((await host.run(["vm", "show", "three"])).code).toBe(3);
    expect(await host.root("ls /run/hatchway/vm")).toBe("one\ntwo\n");
  });

  it("refuses a second VM of one runner, and of one runner's group", async ({ expect }) => {
    for (const runner of ["r1", String(R1.uid), R1_GROUP.name]) {
      const { code, stderr } = await host.run(["vm", "create", "three", "--runner", runner]);
      expect(code, runner).toBe(2);
      expect(stderr).toMatch(/^error: vm "one" has the runner .* already\nhint: /);
    }
    expect((await host.run(["vm", "create", "three", "--runner", "nobody-of-that-name"])).code).not.toBe(0);
    expect((await host.run(["vm", "show", "three"])).code).toBe(3);
  });

  it("binds again over what a runner planted while the daemon was down, and touches nothing else", async ({
    expect,
  }) => {
    const victim = "/run/victim";
    await host.root(`echo precious >${victim} && mkdir -p /run/victims && echo precious >/run/victims/file`);
    const before = await host.root(`stat -c '%a %u %g %s %i' ${victim} /run/victims /run/victims/file`);
    await host.end("SIGKILL");
    const planted = [
      `ln -sf ${victim} control.sock`,
      `ln -sf ${victim} vsock_5107`,
      `rm serial.sock && mkdir serial.sock && ln -s /run/victims serial.sock/link && echo x >serial.sock/file`,
      `ln -sf /run/nothing console.sock`,
    ].join(" && ");
    expect((await host.shell(R1, `cd ${FOLDER("one")} && ${planted}`)).stderr).toBe("");
    await host.serve();
    expect(await host.root(`stat -c '%a %u %g %s %i' ${victim} /run/victims /run/victims/file`)).toBe(before);
    expect(
      await host.root(`cd ${FOLDER("one")} && stat -c '%F %a %U' control.sock vsock_5107 serial.sock console.sock`),
    ).toBe("socket 600 r1\n".repeat(4));
    await host.ok(["secret", "update", "first", "--wait", "--timeout", "30s"], "canary of one, newer");
    await host.ok(["vm", "status", "two", "--wait", "--timeout", "30s"]);
  });

  it("is not led astray by a runner who swaps files while it starts", async ({ expect }) => {
    const before = await host.root(
      "echo precious >/run/victim; chmod 644 /run/victim; stat -c '%a %u %g %s' /run/victim",
    );
    const swap =
      "while [ ! -e /run/stop ]; do for f in control.sock vsock_5107 serial.sock console.sock; do ln -sfn /run/victim $f; rm -f $f; done; done";
    const swapping = host.shell(R1, `cd ${FOLDER("one")} && (${swap}) 2>/dev/null`);
    for (let round = 0; round < 4; round++) {
      await host.end("SIGKILL");
      await host.serve();
    }
    await host.root("touch /run/stop");
    await swapping;
    expect(await host.root("stat -c '%a %u %g %s' /run/victim")).toBe(before);
    await host.end("SIGTERM");
    await host.serve();
    await host.ok(["secret", "update", "first", "--wait", "--timeout", "30s"], "canary of one, newest");
  });

  it("removes a VM with all that its runner built, and leaves no process", async ({ expect }) => {
    await host.shell(R1, `cd ${FOLDER("one")} && mkdir -p a/b/c && chmod 0 a/b && ln -s /run/victims link`);
    await host.ok(["vm", "remove", "one"]);
    expect(
      await host.root(
        `ls /run/hatchway/vm; ls /run/victims; grep -q "^State:[[:space:]][^Z]" /proc/${pids["one"]}/status 2>/dev/null || echo gone`,
      ),
    ).toBe("two\nfile\ngone\n");
  });
});
