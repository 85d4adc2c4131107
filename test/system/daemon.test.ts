// The daemon as a process: what it does to its places, what it refuses to start on, what it survives.
import { spawn } from "node:child_process";
import { chownSync, cpSync, existsSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, onTestFinished, test } from "vitest";
import { STRANGER, TestDaemon, RUNNER_A } from "#test/kit/daemon";
import { DaemonProcess, endOf } from "#test/kit/daemon-process";
import { GuestConnection } from "#test/kit/guest-connection";
import { ended } from "#test/kit/guest-namespace";

function places(): DaemonProcess {
  const made = new DaemonProcess();
  onTestFinished(() => made[Symbol.asyncDispose]());
  return made;
}

/** One daemon's life: a secret, another, and a VM that has the first; it has ended cleanly. */
async function lived(): Promise<DaemonProcess> {
  const made = places();
  const daemon = await made.serve();
  await made.ok(["secret", "create", "db"], "first");
  await made.ok(["secret", "create", "web"], "other");
  await made.ok(["vm", "create", "vm1", "--secret", "db"]);
  await made.ok(["secret", "update", "db"], "second");
  await endOf(daemon, "SIGTERM");
  return made;
}

describe("one daemon", () => {
  test("at a time has a state: a second says who has it", async ({ expect }) => {
    const made = places();
    const first = await made.serve();
    const { code, stderr } = await made.refused();
    expect(code).toBe(6);
    expect(stderr).toContain(`store "${made.state}/store.db" is open in another process (pid ${first.pid})`);
    expect(stderr.split("\n").filter((line) => line.startsWith("error:"))).toHaveLength(1);
    await made.ok(["secret", "create", "db"], "still served");
  });

  test("at a time has a socket: one of another state is refused, and takes nothing away", async ({ expect }) => {
    const made = places();
    await made.serve();
    const { code, stderr } = await made.refused({
      XDG_STATE_HOME: join(made.folder, "s2"),
      XDG_CONFIG_HOME: join(made.folder, "c2"),
    });
    expect(code).toBe(6);
    expect(stderr).toContain(`error: another daemon serves on "${made.runtime}/hatchway.sock"`);
    await made.ok(["secret", "create", "db"], "still served");
  });

  test("ends on SIGTERM and SIGINT with 0, and no socket is left", async ({ expect }) => {
    const made = places();
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const daemon = await made.serve();
      if (signal === "SIGTERM") await made.ok(["vm", "create", "vm1", "--no-secrets"]);
      expect(await endOf(daemon, signal)).toBe(0);
      const left = readdirSync(made.runtime, { recursive: true, encoding: "utf8" });
      expect(left.filter((path) => lstatSync(join(made.runtime, path)).isSocket())).toEqual([]);
    }
  });

  test("that is killed loses nothing, and the next binds every vm's sockets again", async ({ expect }) => {
    const made = places();
    const first = await made.serve();
    await made.ok(["secret", "create", "db"], "kept");
    for (const vm of ["vm1", "vm2"]) await made.ok(["vm", "create", vm, "--secret", "db"]);
    expect(await endOf(first, "SIGKILL")).toBe("SIGKILL");
    expect(existsSync(join(made.runtime, "hatchway.sock"))).toBe(true);
    await made.serve();
    expect(JSON.parse(await made.ok(["--json", "secret", "list"]))).toMatchObject([{ name: "db", size: 4 }]);
    for (const vm of ["vm1", "vm2"]) {
      const guest = await GuestConnection.open(join(made.runtime, "vm", vm, "vsock_5107"));
      expect((await guest.ask("GET /v1/manifest"))?.status).toBe(401);
      guest.close();
    }
  });

  test("makes everything for its user alone", async ({ expect }) => {
    const made = places();
    await made.serve();
    await made.ok(["secret", "create", "db"], "v");
    await made.ok(["vm", "create", "vm1", "--secret", "db"]);
    expect(listing(made.folder, ["s", "c", "r"])).toEqual([
      "d700 c",
      "d700 c/hatchway",
      "-600 c/hatchway/root.key",
      "d700 r",
      "d700 r/hatchway",
      "s600 r/hatchway/hatchway.sock",
      "d700 r/hatchway/vm",
      "d700 r/hatchway/vm/vm1",
      "-600 r/hatchway/vm/vm1/console.log",
      "s600 r/hatchway/vm/vm1/console.sock",
      "s600 r/hatchway/vm/vm1/control.sock",
      "s600 r/hatchway/vm/vm1/serial.sock",
      "s600 r/hatchway/vm/vm1/ssh.sock",
      "s600 r/hatchway/vm/vm1/vsock_5107",
      "d700 s",
      "d700 s/hatchway",
      "-600 s/hatchway/audit.jsonl",
      "-600 s/hatchway/daemon.log",
      "-600 s/hatchway/keyring.json",
      "-600 s/hatchway/store.db",
      "-600 s/hatchway/store.db-shm",
      "-600 s/hatchway/store.db-wal",
      "-600 s/hatchway/store.db.lock",
    ]);
  });
});

/** Kind, mode and path of all below `folders`, sorted. */
function listing(top: string, folders: readonly string[]): string[] {
  const paths = folders.flatMap((folder) => [
    folder,
    ...readdirSync(join(top, folder), { recursive: true, encoding: "utf8" }).map((path) => join(folder, path)),
  ]);
  return paths.toSorted().map((path) => {
    const stat = lstatSync(join(top, path));
    const kind = stat.isSocket() ? "s" : stat.isDirectory() ? "d" : "-";
    return `${kind}${(stat.mode & 0o7777).toString(8)} ${path}`;
  });
}

describe("the daemon does not start", () => {
  test("on a state of another user", async ({ expect }) => {
    const made = await lived();
    chownSync(made.state, STRANGER, STRANGER);
    const { code, stderr } = await made.refused();
    expect(code).toBe(5);
    expect(stderr).toContain(`error: "${made.state}" belongs to uid ${STRANGER}, not to uid 0`);
  });

  test("with another key, or none", async ({ expect }) => {
    const made = await lived();
    writeFileSync(made.keyFile, Buffer.alloc(32, 1));
    const { code, stderr } = await made.refused();
    expect(code).toBe(8);
    expect(stderr).toContain(`error: the key file "${made.keyFile}" does not open the keyring`);
    expect(stderr).toContain("hint: put back the key file that the store was made with");
    rmSync(made.keyFile);
    expect(await made.refused()).toMatchObject({ code: 8 });
    expect(existsSync(made.keyFile)).toBe(false);
  });

  test("without its keyring, and makes no new one over what is there", async ({ expect }) => {
    const made = await lived();
    rmSync(join(made.state, "keyring.json"));
    expect(await made.refused()).toMatchObject({ code: 8 });
    expect(existsSync(join(made.state, "keyring.json"))).toBe(false);
  });

  test("on an audit trail that was cut, emptied, edited or taken away", async ({ expect }) => {
    const made = await lived();
    const audit = join(made.state, "audit.jsonl");
    const whole = readFileSync(audit, "utf8");
    const lines = whole.split(/(?<=\n)/);
    const edited = [
      lines.slice(0, -1).join(""),
      lines.slice(0, 2).join(""),
      "",
      whole.slice(0, -40),
      whole.replace(/"ok"(?=[^\n]*\n$)/, '"no"'),
    ];
    for (const text of edited) {
      writeFileSync(audit, text);
      const { code, stderr } = await made.refused();
      expect(code, text).toBe(8);
      expect(stderr).toMatch(/error: the audit trail ".*" was (?:cut|edited)/);
    }
    rmSync(audit);
    expect(await made.refused()).toMatchObject({ code: 8 });
  });

  test("on a store that was rolled back beside its trail", async ({ expect }) => {
    const made = await lived();
    const old = join(made.folder, "old");
    cpSync(join(made.state, "store.db"), old);
    const daemon = await made.serve();
    await made.ok(["secret", "update", "db"], "third");
    await endOf(daemon, "SIGTERM");
    cpSync(old, join(made.state, "store.db"));
    const { code, stderr } = await made.refused();
    expect(code).toBe(8);
    expect(stderr).toMatch(/error: the (?:store is older than the audit trail|audit trail)/);
  });

  test("where a socket's path has more than 107 bytes", async ({ expect }) => {
    const made = places();
    const runtime = join(made.folder, "x".repeat(100));
    const { code, stderr } = await made.refused({ XDG_RUNTIME_DIR: runtime });
    expect(code).toBe(2);
    expect(stderr).toMatch(/error: socket path ".*" has \d+ bytes: at most 107/);
    expect(existsSync(join(made.state, "store.db"))).toBe(false);
  });
});

interface StoredRow {
  key: string;
  version: number;
  bytes: Uint8Array;
}

/** Edits the store's file as somebody would who has it. */
function edit(
  made: DaemonProcess,
  change: (rows: Map<string, StoredRow[]>, write: (row: StoredRow) => void) => void,
): void {
  using database = new DatabaseSync(join(made.state, "store.db"));
  const rows = database.prepare("SELECT key, version, bytes FROM rows ORDER BY key").all() as unknown as StoredRow[];
  const statement = database.prepare("UPDATE rows SET version = ?, bytes = ? WHERE key = ?");
  change(
    Map.groupBy(rows, ({ key }) => key.slice(0, key.indexOf(":") < 0 ? undefined : key.indexOf(":"))),
    ({ key, version, bytes }) => void statement.run(version, bytes, key),
  );
}

const CORRUPT = "is not what was last written";

describe("a row of the store that was", () => {
  test("edited is refused as corrupt, and nothing of it is served", async ({ expect }) => {
    for (const kind of ["secret", "vm", "grants", "ledger", "head"]) {
      const made = await lived();
      edit(made, (rows, write) => {
        for (const row of rows.get(kind) ?? []) {
          const bytes = Uint8Array.from(row.bytes);
          bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
          write({ ...row, bytes });
        }
      });
      await refusesToShow(made, ["vm", "show", "vm1"]);
      if (kind === "secret") await refusesToShow(made, ["secret", "show", "db"]);
    }
    async function refusesToShow(made: DaemonProcess, command: string[]): Promise<void> {
      try {
        const daemon = await made.serve();
        const { code, stdout, stderr } = await made.run(command);
        expect([code, stdout, stderr]).toEqual([8, "", expect.stringContaining(CORRUPT)]);
        await endOf(daemon, "SIGTERM");
      } catch (error) {
        expect(error).toMatchObject({ code: 8, stderr: expect.stringContaining(CORRUPT) as string });
      }
    }
  });

  test("put in another's place is refused as corrupt", async ({ expect }) => {
    const made = await lived();
    edit(made, (rows, write) => {
      const [one, two] = rows.get("secret") ?? [];
      if (!one || !two) throw new Error("two secrets were expected");
      write({ ...one, bytes: two.bytes, version: two.version });
      write({ ...two, bytes: one.bytes, version: one.version });
    });
    await made.serve();
    for (const name of ["db", "web"]) {
      const { code, stderr } = await made.run(["secret", "show", name]);
      expect([code, stderr]).toEqual([8, expect.stringMatching(/is (older than|not) what was last written/)]);
    }
  });

  test("an older one of its own is refused, whatever version it says that it has", async ({ expect }) => {
    const made = await lived();
    let old: StoredRow | undefined;
    edit(made, (rows) => {
      old = rows.get("secret")?.find(({ version }) => version === 2);
    });
    const daemon = await made.serve();
    await made.ok(["secret", "update", "db"], "third");
    await endOf(daemon, "SIGTERM");
    for (const [version, said] of [
      [3, CORRUPT],
      [2, "is older than what was last written"],
    ] as const) {
      edit(made, (_, write) => old && write({ ...old, version }));
      const again = await made.serve();
      const { code, stdout, stderr } = await made.run(["secret", "show", "db"]);
      expect([code, stdout, stderr]).toEqual([8, "", expect.stringContaining(said)]);
      await endOf(again, "SIGTERM");
    }
  });
});

describe("a third user of the host", () => {
  test("reads nothing, lists nothing and reaches no socket of a system", async ({ expect }) => {
    await using daemon = await TestDaemon.open("system");
    await daemon.secret("db", "the password");
    await daemon.vm("a", RUNNER_A, "db");
    const paths = ["state", "config", "run"].flatMap((folder) => [
      folder,
      ...readdirSync(join(daemon.folder, folder), { recursive: true, encoding: "utf8" }).map((path) =>
        join(folder, path),
      ),
    ]);
    expect(paths.length).toBeGreaterThan(15);
    const program = `
      const fs = require("node:fs"), net = require("node:net");
      for (const path of process.argv.slice(1)) {
        for (const act of ["readFileSync", "readdirSync"]) {
          try { fs[act](path); console.log(act + " " + path); } catch (error) {}
        }
        try { fs.writeFileSync(path + ".new", ""); console.log("write " + path); } catch (error) {}
        const socket = net.connect(path);
        socket.on("connect", () => { console.log("connect " + path); socket.destroy(); });
        socket.on("error", () => undefined);
      }`;
    const user = [`--reuid=${STRANGER}`, `--regid=${STRANGER}`, "--clear-groups"];
    const all = paths.map((path) => join(daemon.folder, path));
    const child = spawn("setpriv", [...user, process.execPath, "-e", program, ...all], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect(await ended(child)).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(listing(daemon.folder, ["run"])).toEqual([
      "d711 run",
      "s600 run/hatchway.sock",
      "d711 run/vm",
      "d1770 run/vm/a",
      "-600 run/vm/a/console.log",
      "s600 run/vm/a/console.sock",
      "s600 run/vm/a/control.sock",
      "s600 run/vm/a/serial.sock",
      "s600 run/vm/a/ssh.sock",
      "s600 run/vm/a/vsock_5107",
    ]);
  });
});
