// agent cloud-init: what a cloud's first boot is told, so that a guest that is to be made has the agent. It does what
// `agent install` does, by the same script, and holds no secret: who reads it can have an agent, and nothing to fetch.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { HatchwayError } from "#error";
import { packageRoot } from "#host/package-root";
import { readAgent, readFrom } from "./agent-install.ts";
import type { Session } from "./session.ts";

export interface CloudInitFlags {
  from?: string;
  arch?: string;
  url?: string;
}

const SCRIPT_PATH = "/run/hatchway-install";
const AGENT_PATH = "/usr/bin/hatchway-agent";
const LINE = 100;

export async function printCloudInit(
  session: Session,
  _: readonly string[],
  flags: CloudInitFlags,
): Promise<undefined> {
  const agent = readAgent(flags.arch ?? "x86_64");
  const from = readFrom(flags.from);
  const script = readFileSync(join(packageRoot(), "guest/ssh/install"), "utf8");
  const url = readUrl(flags.url);
  const plan = `printf '%s auto %s\\n' ${agent.sha256} ${from ?? "-"}`;
  // The script takes the agent behind its plan, where the one that is there is another; it checks the digest itself.
  const input = url === undefined ? plan : `{ ${plan}; curl -fsSL ${url} || wget -qO - ${url}; }`;
  const files = [file(SCRIPT_PATH, "0700", Buffer.from(script))];
  if (url === undefined) files.push(file(AGENT_PATH, "0755", agent.bytes));
  const text = [
    "#cloud-config",
    `# Puts hatchway-agent (${flags.arch ?? "x86_64"}, sha256 ${agent.sha256}) into a guest at its first boot.`,
    "write_files:",
    ...files,
    "runcmd:",
    `  - ${JSON.stringify(`${input} | sh ${SCRIPT_PATH} cloud-init; rm -f ${SCRIPT_PATH}`)}`,
  ].join("\n");
  session.report({ cloud_config: text }, () => text);
}

/** An element of `write_files`. */
function file(path: string, mode: string, content: Buffer): string {
  // The same bytes each time: the header of gzip has no time here.
  const base64 = gzipSync(content, { level: 9 }).toString("base64");
  const lines = base64.match(new RegExp(`.{1,${LINE}}`, "g")) ?? [];
  const head = [`  - path: ${path}`, `    permissions: "${mode}"`, "    owner: root:root", "    encoding: gz+b64"];
  return [...head, "    content: |", ...lines.map((line) => `      ${line}`)].join("\n");
}

function readUrl(said: string | undefined): string | undefined {
  if (said === undefined || /^https?:\/\/[A-Za-z0-9._~:/?#@!&=%+,-]+$/.test(said)) {
    return said === undefined ? undefined : `'${said}'`;
  }
  throw new HatchwayError("invalid", `--url "${said}" is no address of a file`);
}
