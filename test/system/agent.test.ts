// What the agent makes of a bundle, on both of its platforms.
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, readlinkSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, it } from "vitest";
import { guestAndHost } from "#test/kit/guest-and-host";
import { COMPILED, ended, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { env, file, HostPeer, MTIME } from "#test/kit/host-peer";

const SET = "/run/hatchway/secrets";
const BINARY = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

describe.each([COMPILED, ON_NODE])("hatchway-agent, $name", ({ command }) => {
  let guest: GuestNamespace;
  let host: HostPeer;
  let from: string;

  beforeEach(async () => {
    const made = await guestAndHost();
    ({ guest, host, from } = made);
    return made.close;
  });

  const agent = (...args: string[]): Promise<Ended> => guest.run([...command, ...args]);
  const sync = (): Promise<Ended> => agent("secrets", "sync", "--from", from);
  const exec = (...argv: string[]): Promise<Ended> => agent("exec", "--from", from, "--", ...argv);
  const asNobody = (script: string): Promise<Ended> =>
    guest.run(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", script]);
  const read = (path: string): Buffer => readFileSync(guest.path(`${SET}/${path}`));

  it("a first sync installs bytes, modes, owners and times exactly", async ({ expect }) => {
    host.set(
      file("binary", BINARY, { mode: "0400", user: 1000, group: 1001 }),
      file("empty", ""),
      file("tls-key", "PEM\n", { path: "tls/web/key.pem", mode: "0640", user: "daemon", group: "daemon" }),
      env("db", "DB_PASSWORD", "s3cret"),
    );

    expect(await sync()).toEqual({ code: 0, stdout: "4 secrets, revision e1.g1.1\n", stderr: "" });
    expect(guest.listing(SET).filter((line) => !line.includes(".hatchway"))).toEqual([
      "400 1000 1001 256 binary",
      "600 0 0 0 empty",
      "640 1 1 4 tls/web/key.pem",
    ]);
    expect(read("binary").equals(BINARY)).toBe(true);
    expect(statSync(guest.path(`${SET}/binary`)).mtimeMs).toBe(MTIME * 1000);
    expect(guest.shell(`stat -c '%a %u %g' /run/hatchway ${SET} ${SET}/tls ${SET}/tls/web ${SET}/.hatchway`)).toBe(
      "711 0 0\n711 0 0\n711 0 0\n711 0 0\n700 0 0\n",
    );
    const mount = guest.shell("grep ' /run/hatchway ' /proc/self/mountinfo");
    for (const flag of ["nosuid", "nodev", "noexec"]) expect(mount).toContain(flag);
    expect(readlinkSync(guest.path("/run/hatchway/env"))).toBe("secrets/.hatchway/env");
    expect(guest.shell("ls /run/hatchway/.agent")).toBe("claim\nlock\nstatus.json\n");
    const [receipt] = host.receipts;
    expect(receipt).toMatchObject({ revision: "e1.g1.1", outcome: "applied", refused: [], agent: "0.1.0" });
    expect(receipt?.boot).toBe(readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());
    expect(receipt?.mount).toBe(mount.includes("noswap") ? "tmpfs,noswap" : "tmpfs");
  });

  it("a later sync fetches and replaces only what changed", async ({ expect }) => {
    host.set(file("keep", "same"), file("change", "before"), file("drop", "gone soon"), file("move", "m"));
    await sync();
    const inode = statSync(guest.path(`${SET}/keep`)).ino;
    const held = openSync(guest.path(`${SET}/change`), "r");
    host.set(file("keep", "same"), file("change", "after"), file("move", "m", { path: "moved", user: 5 }));

    expect((await sync()).stdout).toBe("3 secrets, revision e1.g1.2\n");
    expect(host.requests.findLast((line) => line.includes("/v1/bundle"))).toBe(
      "GET /v1/bundle?have=e1.g1.1&wait=0 -> change",
    );
    expect(guest.listing(SET).filter((line) => !line.includes(".hatchway"))).toEqual([
      "600 0 0 4 keep",
      "600 0 0 5 change",
      "600 5 0 1 moved",
    ]);
    expect(statSync(guest.path(`${SET}/keep`)).ino).toBe(inode);
    // Who had the old file open still reads the old value.
    const bytes = Buffer.alloc(16);
    expect(bytes.toString("latin1", 0, readSync(held, bytes))).toBe("before");
    closeSync(held);
    expect((await sync()).stdout).toBe("3 secrets, revision e1.g1.2\n");
    expect(host.requests.at(-1)).toBe("GET /v1/bundle?have=e1.g1.2&wait=0");
  });

  it("a set that someone has changed is fetched whole", async ({ expect }) => {
    host.set(file("mine", "value", { user: 1000 }), file("other", "o"));
    await sync();
    guest.shell(`setpriv --reuid=1000 --clear-groups sh -c 'echo more >> ${SET}/mine'`);

    await sync();
    expect(host.requests.findLast((line) => line.includes("/v1/bundle"))).toBe("GET /v1/bundle -> mine other");
    expect(read("mine").toString()).toBe("value");
  });

  it("a new owner never gets bytes that the old owner could have written", async ({ expect }) => {
    host.set(file("shared", "value", { user: 1000 }));
    await sync();
    guest.shell(`setpriv --reuid=1000 --clear-groups sh -c 'printf VALUE > ${SET}/shared'`);
    host.set(file("shared", "value", { user: 2000 }));

    await sync();
    expect(read("shared").toString()).toBe("value");
    expect(guest.listing(SET)).toContain("600 2000 0 5 shared");
  });

  it("variables survive exec and systemd's rules, whatever they hold", async ({ expect }) => {
    const values: [string, string][] = [
      ["PLAIN", "value"],
      ["EMPTY", ""],
      ["LINES", "-----BEGIN-----\nline one\n\nline two\n-----END-----\n"],
      ["QUOTES", `"double" 'single' \`back\` $HOME \${HOME} \\ \\n \\\\ #hash ; =`],
      ["UNICODE", "pässwörd ☃ 😀\t\u0001\r"],
    ];
    host.set(...values.map(([name, value]) => env(name.toLowerCase(), name, value)));

    const { code, stdout } = await exec("env", "-0");
    expect(code).toBe(0);
    const seen = new Map(stdout.split("\0").map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]));
    for (const [name, value] of values) expect(seen.get(name)).toBe(Buffer.from(value).toString("latin1"));
    expect(guest.shell("stat -c '%a %u' /run/hatchway/env/secrets.env")).toBe("600 0\n");
  });

  it("exec ends as shells do", async ({ expect }) => {
    host.set(env("a", "A_TOKEN", "1"));
    expect((await exec("sh", "-c", "exit 7")).code).toBe(7);
    expect(await exec("no-such-program")).toEqual({
      code: 127,
      stdout: "",
      stderr: 'error: "no-such-program" was not found\n',
    });
    expect((await exec("/etc/passwd")).code).toBe(126);
    expect((await exec("/etc")).stderr).toBe('error: "/etc" is a directory\n');
  });

  it("what cannot be installed is refused alone, and tried again when asked", async ({ expect }) => {
    host.set(
      file("good", "g"),
      file("nobody-here", "n", { user: "no-such-user" }),
      env("nul", "WITH_NUL", "a\0b"),
      file("latin", Buffer.from([0xe9]), { env: "LATIN" }),
    );

    const { code, stdout, stderr } = await sync();
    expect([code, stdout]).toEqual([0, "1 secret, revision e1.g1.1\n"]);
    expect(stderr.trim().split("\n")).toEqual([
      'refused "nobody-here": this guest has no user "no-such-user"',
      'refused "nul": its value has a NUL byte, which an environment variable cannot hold',
      'refused "latin": its value is not UTF-8, as systemd wants an environment variable to be',
    ]);
    expect(host.receipts[0]?.refused.map(({ name }) => name)).toEqual(["nobody-here", "nul", "latin"]);
    expect(guest.listing(SET).filter((line) => !line.includes(".hatchway"))).toEqual([
      "600 0 0 1 good",
      "600 0 0 1 latin",
    ]);
    expect(guest.shell("cat /run/hatchway/env/secrets.env")).toBe("");
    await sync();
    expect(host.requests.findLast((line) => line.includes("/v1/bundle"))).toBe(
      "GET /v1/bundle -> good nobody-here nul latin",
    );
  });

  it("a tmpfs that is full leaves the set before in force", async ({ expect }) => {
    host.set(file("small", "before"));
    await sync();
    guest.shell("mount -o remount,size=200k /run/hatchway");
    host.set(file("small", "after"), file("big", Buffer.alloc(1_000_000, 7)));

    const { code, stderr } = await sync();
    expect([code, stderr]).toEqual([1, "error: cannot install the bundle: write: no space left\n"]);
    expect(read("small").toString()).toBe("before");
    expect(host.receipts.at(-1)).toMatchObject({ revision: "e1.g1.2", outcome: "failed" });
    expect(guest.shell("ls /run/hatchway/.agent")).not.toContain("next-");
  });

  it("run follows changes, answers a sync, and stops at SIGTERM", async ({ expect }) => {
    host.set(file("a", "1"));
    const child = guest.start([...command, "run", "--from", from]);
    const output = ended(child);
    await host.receipt(({ revision }) => revision === "e1.g1.1");
    host.set(file("a", "2"));
    await host.receipt(({ revision }) => revision === "e1.g1.2");
    expect(read("a").toString()).toBe("2");

    expect(await sync()).toEqual({ code: 0, stdout: "1 secret, revision e1.g1.2\n", stderr: "" });
    const status = JSON.parse((await agent("status", "--json")).stdout) as Record<string, unknown>;
    expect(status).toMatchObject({ revision: "e1.g1.2", secrets: 1, reachable: true, problem: "", source: from });
    expect((await agent("run", "--from", from)).stderr).toMatch(
      /^error: another hatchway-agent runs here already, process \d+$/m,
    );
    child.kill("SIGTERM");
    expect((await output).code).toBe(0);
  });

  it("run keeps the last set while the host is gone, and comes back", async ({ expect }) => {
    host.set(file("a", "1"));
    const child = guest.start([...command, "run", "--from", from]);
    const output = ended(child);
    await host.receipt(({ revision }) => revision === "e1.g1.1");
    await host.close();
    expect((await sync()).code).toBe(1);
    expect(read("a").toString()).toBe("1");
    const { claimed } = host;

    host = new HostPeer();
    host.claimed = claimed;
    host.set(file("a", "0"));
    host.set(file("a", "2"));
    await host.listen(from.slice("unix:".length));
    await host.receipt(({ revision }) => revision === "e1.g1.2");
    expect(read("a").toString()).toBe("2");
    child.kill("SIGTERM");
    expect((await output).stderr).toContain("hatchway-agent: 1 secret, revision e1.g1.2");
  });

  it("the claim is made once a boot; a foreign one is reported", async ({ expect }) => {
    host.set(file("a", "1"));
    await sync();
    const { claimed } = host;
    await sync();
    expect(claimed).toMatch(/^[0-9a-f]{64}$/);
    expect(guest.shell("cat /run/hatchway/.agent/claim")).toBe(claimed);
    expect(guest.shell("stat -c '%a %u' /run/hatchway/.agent /run/hatchway/.agent/claim")).toBe("700 0\n600 0\n");

    host.claimed = "f".repeat(64);
    expect(await sync()).toEqual({
      code: 1,
      stdout: "",
      stderr: "error: another process of this guest has claimed its secrets: they may be exposed\n",
    });
    expect(read("a").toString()).toBe("1");
  });

  it("an unprivileged process of the guest gets nothing but what is its own", async ({ expect }) => {
    host.set(file("roots", "r"), file("mine", "m", { mode: "0400", user: 1000 }), env("e", "E_TOKEN", "e"));
    await sync();
    expect((await asNobody(`cat ${SET}/mine`)).stdout).toBe("m");
    for (const path of ["secrets/roots", "secrets/.hatchway/manifest.json", "env/secrets.env", ".agent/claim"]) {
      expect(await asNobody(`cat /run/hatchway/${path}`)).toMatchObject({ code: 1, stdout: "" });
    }
    for (const path of ["", "secrets", ".agent"]) {
      expect((await asNobody(`ls /run/hatchway/${path}`)).stdout).toBe("");
      expect((await asNobody(`touch /run/hatchway/${path}/x`)).code).not.toBe(0);
    }
    expect(await asNobody([...command, "sync", "--from", from].join(" "))).toMatchObject({
      code: 1,
      stderr: "error: hatchway-agent must run as root\n",
    });
  });

  it("over a serial port no session hears what was left of another, and no claim is made", async ({ expect }) => {
    const socket = join(guest.outside, "port");
    const serial = new HostPeer();
    serial.set(file("a", "1"));
    const stale = `\0${"0".repeat(32)}\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\0ab`;
    await serial.listenSerial(socket, Buffer.from(stale));
    const source = `unix-serial:${socket}`;

    expect((await agent("sync", "--from", source)).stdout).toBe("1 secret, revision e1.g1.1\n");
    expect(serial.requests).toEqual(["GET /v1/bundle -> a", "POST /v1/receipts/e1.g1.1"]);

    // Each sync cuts the run off in the middle of its long poll; the answer to that one is then in its way.
    const child = guest.start([...command, "run", "--from", source]);
    await serial.receipt(() => serial.receipts.length > 1);
    for (const value of ["2", "3", "4"]) {
      serial.set(file("a", value));
      expect((await agent("sync", "--from", source)).stdout).toBe(`1 secret, revision ${serial.revision}\n`);
      expect(read("a").toString()).toBe(value);
    }
    child.kill("SIGTERM");
    await once(child, "exit");
    await serial.close();
  });

  it("a wrong command line is refused in one line, before anything is done", async ({ expect }) => {
    const cases: [string[], string][] = [
      [["sync", "--what"], 'error: unknown flag "--what"\n'],
      [["sync", "extra"], 'error: unexpected argument "extra"\n'],
      [
        ["sync", "--from", "tls:host"],
        'error: source "tls:host" should be tls:HOST:PORT, an IPv6 address in brackets\n',
      ],
      [["sync", "--root", "relative"], 'error: --root "relative" should be an absolute path\n'],
      [["exec"], "error: exec needs a command: hatchway-agent exec -- CMD\n"],
    ];
    for (const [args, stderr] of cases) expect(await agent(...args)).toEqual({ code: 2, stdout: "", stderr });
    expect(guest.shell("ls /run")).toBe("");
  });

  it("a root on a disk is refused", async ({ expect }) => {
    const root = join(guest.outside, "root");
    mkdirSync(root);
    const { code, stderr } = await agent("sync", "--from", from, "--root", root, "--no-mount");
    expect([code, stderr]).toEqual([1, `error: "${root}" is on a disk: a secret is kept only in tmpfs or ramfs\n`]);
  });

  it("readiness is told once the first set is in force", async ({ expect }) => {
    host.set(file("a", "1"));
    const socket = "/run/notify";
    const listener = guest.start(["perl", "-MIO::Socket::UNIX", "-e", NOTIFY_LISTENER, socket]);
    await once(listener.stdout ?? listener, "data");
    const heard = ended(listener);
    const child = guest.start([...command, "run", "--from", from], { NOTIFY_SOCKET: socket });
    expect((await heard).stdout).toBe("STATUS=1 secret, revision e1.g1.1\nREADY=1\n");
    child.kill("SIGTERM");
    await once(child, "exit");
  });
});

/** Prints two datagrams. perl-base is an essential package of Debian. */
const NOTIFY_LISTENER = `
  my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die $!;
  $| = 1; print "listening\\n";
  for (1, 2) { $s->recv(my $m, 4096); print "$m\\n"; }
`;
