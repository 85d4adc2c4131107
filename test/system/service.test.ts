// The daemon as somebody's service, without systemd: a socket that is handed to it, and its supervisor.
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, onTestFinished, test } from "vitest";
import { listening, receiver } from "#test/kit/unix-sockets";
import { DaemonProcess } from "#test/kit/daemon-process";
import { ended } from "#test/kit/guest-namespace";
import { until } from "#test/kit/until";

const HATCHWAY = resolve(import.meta.dirname, "../../bin/hatchway");

/** As systemd does: the descriptor is 3, and the pid is that of the program that the shell becomes. */
const ACTIVATE = 'export LISTEN_PID="${LISTEN_FOR:-$$}" LISTEN_FDS="$1"; shift; exec "$@"';

class Service {
  readonly places = new DaemonProcess();
  readonly socket: string;
  readonly notices: string[] = [];
  readonly #address = `@${this.places.folder}`;
  readonly #notify = receiver(this.#address);

  constructor() {
    mkdirSync(this.places.runtime, { mode: 0o700 });
    this.socket = join(this.places.runtime, "hatchway.sock");
  }

  start(socket: number, { count = "1", pid = "" } = {}): ChildProcess {
    return spawn("/bin/sh", ["-c", ACTIVATE, "sh", count, HATCHWAY, "serve", "--session"], {
      env: { ...this.places.env, NOTIFY_SOCKET: this.#address, ...(pid !== "" && { LISTEN_FOR: pid }) },
      stdio: ["ignore", "ignore", "pipe", socket],
    });
  }

  /** What the supervisor has been told, up to a line that begins so. */
  async told(start: string): Promise<string> {
    let found: string | undefined;
    await until(`the supervisor is told ${start}`, async () => {
      const said = this.#notify.read();
      if (said !== undefined) this.notices.push(said);
      found = this.notices.find((notice) => notice.startsWith(start));
      return found !== undefined;
    });
    this.notices.length = 0;
    return found ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#notify.close();
    await this.places[Symbol.asyncDispose]();
  }
}

function service(): Service {
  const made = new Service();
  onTestFinished(() => made[Symbol.asyncDispose]());
  return made;
}

describe("a daemon that is handed its socket", () => {
  test("answers who called before it was there, says that it serves, and leaves the socket when it ends", async ({
    expect,
  }) => {
    const made = service();
    const socket = listening(made.socket);
    const inode = statSync(made.socket).ino;
    for (const round of ["one", "two"]) {
      const early = made.places.run(["secret", "create", round], "value");
      const daemon = made.start(socket);
      expect((await early).code).toBe(0);
      expect(await made.told("READY=1")).toBe(`READY=1\nSTATUS=serves on ${made.socket}`);
      expect(statSync(made.socket).mode & 0o777).toBe(0o600);
      const end = ended(daemon);
      daemon.kill("SIGTERM");
      await made.told("STOPPING=1");
      expect((await end).code).toBe(0);
      expect(statSync(made.socket).ino).toBe(inode);
    }
    closeSync(socket);
  });

  test("takes none that was handed to another process, and binds its own", async ({ expect }) => {
    const made = service();
    const other = listening(join(made.places.folder, "other.sock"));
    const daemon = made.start(other, { pid: "1" });
    await made.told("READY=1");
    await made.places.ok(["secret", "create", "db"], "value");
    daemon.kill("SIGTERM");
    expect((await ended(daemon)).code).toBe(0);
    expect(existsSync(made.socket)).toBe(false);
    closeSync(other);
  });

  test("refuses another socket than its own, and more than one", async ({ expect }) => {
    const made = service();
    const path = join(made.places.folder, "other.sock");
    const other = listening(path);
    const wrong = await ended(made.start(other));
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toBe(
      `error: the socket that was handed over is "${path}", and should be "${made.socket}"\n` +
        `hint: the socket unit needs: ListenStream=${made.socket}\n`,
    );
    const many = await ended(made.start(other, { count: "2" }));
    expect(many.stderr).toBe(`error: 2 sockets were handed over, and should be one, "${made.socket}"\n`);
    closeSync(other);
  });
});
