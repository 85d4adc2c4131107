// .agent/status.json: how the agent last fared, for `hatchway-agent status` and for a `sync` that waits on a `run`.
import { asciiBytes, parseJson, type JsonObject } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { parseRefusals, type Refusal } from "./receipt.ts";
import type { Memory, Root } from "./root.ts";
import type { Sys } from "./sys.ts";
import { printable } from "./text.ts";
import { readFile, replaceFile, statOrNone } from "./tree.ts";

const FILE = "status.json";
const MOST = 4_194_304;

export interface Status {
  source: string;
  /** "" before the first set. */
  revision: string;
  secrets: number;
  /** When the set came into force, ISO 8601; "" before the first one. */
  applied: string;
  /** Whether the host answered when it was last asked. */
  reachable: boolean;
  /** When the host last answered, ISO 8601; "" before that. */
  contact: string;
  /** Why the last attempt failed; "" when it did not. */
  problem: string;
  refused: readonly Refusal[];
  mount: Memory;
  /** Synchronisations that were asked for: how many were begun, and the last of them that has ended. */
  begun: number;
  done: number;
}

export function writeStatus(sys: Sys, root: Root, status: Status): void {
  const refused = status.refused.map(({ name, reason }) => ({ name, reason: printable(reason, 200) }));
  const json = JSON.stringify({ ...status, problem: printable(status.problem, 500), refused });
  replaceFile(sys, root.agent, FILE, asciiBytes(`${json}\n`));
}

/** Undefined before an agent has written one. */
export function readStatus(sys: Sys, root: Root): Status | undefined {
  if (!statOrNone(sys, root.agent, FILE)) return undefined;
  const json = parseJson(readFile(sys, root.agent, FILE, MOST), FILE);
  if (json === null || typeof json !== "object" || Array.isArray(json))
    throw new ProtocolError(`${FILE}: not an object`);
  return {
    source: text(json, "source"),
    revision: text(json, "revision"),
    secrets: number(json, "secrets"),
    applied: text(json, "applied"),
    reachable: json["reachable"] === true,
    contact: text(json, "contact"),
    problem: text(json, "problem"),
    refused: parseRefusals(json["refused"]),
    mount: text(json, "mount") as Memory,
    begun: number(json, "begun"),
    done: number(json, "done"),
  };
}

function text(json: JsonObject, key: string): string {
  const value = json[key];
  if (typeof value !== "string") throw new ProtocolError(`${FILE}: ${key} is not a string`);
  return value;
}

function number(json: JsonObject, key: string): number {
  const value = json[key];
  if (typeof value !== "number") throw new ProtocolError(`${FILE}: ${key} is not a number`);
  return value;
}
