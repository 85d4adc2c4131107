// Runs the CLI's main in this process, on streams that a test can write to and read.
import { PassThrough, Readable } from "node:stream";
import type { Serve } from "#cli/daemon-commands";
import { main } from "#cli/main";
import type { Terminal } from "#cli/session";

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Conditions {
  /** What is on stdin; it ends after that. A stream is taken as it is. */
  stdin?: string | Buffer | Terminal["stdin"];
  env?: NodeJS.ProcessEnv;
  /** Whether stdout and stderr are terminals. */
  isTerminal?: boolean;
  serve?: Serve;
}

const noOffline = (): never => {
  throw new Error("this test does nothing on files");
};
const noDaemon: Serve = () => Promise.reject(new Error("this test serves nothing"));

export async function runCli(argv: readonly string[], conditions: Conditions = {}): Promise<Outcome> {
  const { stdin = "", env = {}, isTerminal = false, serve = noDaemon } = conditions;
  const stdout = Object.assign(new PassThrough(), { isTTY: isTerminal, columns: 80 });
  const stderr = Object.assign(new PassThrough(), { isTTY: isTerminal, columns: 80 });
  const input = typeof stdin === "string" || Buffer.isBuffer(stdin) ? Readable.from([Buffer.from(stdin)]) : stdin;
  const code = await main(argv, { stdin: input, stdout, stderr, env: { HOME: "/nowhere", ...env } }, serve, noOffline);
  return { code, stdout: textOf(stdout), stderr: textOf(stderr) };
}

function textOf(stream: PassThrough): string {
  return ((stream.read() as Buffer | null) ?? Buffer.alloc(0)).toString("utf8");
}
