// vm logs, logs: text that the daemon made printable, passed on as it comes.
import { once } from "node:events";
import { parseCount } from "./quantity.ts";
import type { Session } from "./session.ts";

export interface LogFlags {
  lines?: string;
  follow?: true;
}

export async function vmLogs(session: Session, operands: readonly string[], flags: LogFlags): Promise<undefined> {
  await passOn(session, session.client.vmLogs(operands[0] ?? "", readLogFlags(flags)));
}

export async function daemonLogs(session: Session, _operands: readonly string[], flags: LogFlags): Promise<undefined> {
  await passOn(session, session.client.logs(readLogFlags(flags)));
}

function readLogFlags(flags: LogFlags): { lines: number; follow: boolean } {
  return { lines: parseCount("--lines", flags.lines ?? "100", 0), follow: flags.follow === true };
}

async function passOn(session: Session, text: AsyncIterable<Buffer>): Promise<void> {
  const { stdout } = session.terminal;
  if (session.json) {
    const chunks: Buffer[] = [];
    for await (const chunk of text) chunks.push(chunk);
    const lines = Buffer.concat(chunks).toString("utf8").split("\n");
    session.printJson(lines.at(-1) === "" ? lines.slice(0, -1) : lines);
    return;
  }
  for await (const chunk of text) if (!stdout.write(chunk)) await once(stdout, "drain");
}
