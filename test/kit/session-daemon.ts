// The real daemon, as a user starts it: `bin/hatchway serve --session` in folders of its own.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { StatusBody } from "#api";

const run = promisify(execFile);

export interface SessionDaemon extends AsyncDisposable {
  /** For commands that shall find it. */
  env: NodeJS.ProcessEnv;
  /** An empty folder to work in. */
  folder: string;
  pid: number;
}

let bundled: Promise<unknown> | undefined;

/** Makes what ships from these sources; once a process. */
export async function bundle(): Promise<void> {
  await (bundled ??= run(process.execPath, ["scripts/bundle.ts"]));
}

export async function startSessionDaemon(): Promise<SessionDaemon> {
  await bundle();
  const root = mkdtempSync(join(tmpdir(), "hw-"));
  const folder = join(root, "work");
  mkdirSync(join(root, "run"), { mode: 0o700 });
  mkdirSync(folder);
  const env = {
    HOME: root,
    PATH: `${resolve("bin")}:${process.env["PATH"]}`,
    XDG_RUNTIME_DIR: join(root, "run"),
    XDG_STATE_HOME: join(root, "state"),
    XDG_CONFIG_HOME: join(root, "config"),
    HATCHWAY_NO_AF_VSOCK: "1",
  };
  await run("hatchway", ["serve", "--session", "--background"], { env });
  const { stdout } = await run("hatchway", ["status", "--json"], { env });
  const { pid } = JSON.parse(stdout) as StatusBody;
  return {
    env,
    folder,
    pid,
    async [Symbol.asyncDispose]() {
      await run("hatchway", ["stop"], { env });
      rmSync(root, { recursive: true });
    },
  };
}
