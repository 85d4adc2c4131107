// The parts of requests: paths of names that are in the grammar, queries, bodies.
import { HatchwayError } from "#error";
import { secretNameProblem, vmNameProblem } from "#protocol/names";
import type { MetadataBody, Wait } from "./client.ts";

/** Milliseconds that the daemon gets on top of those that it was asked to wait. */
const SLACK = 30_000;

export function backupQuery(only: readonly string[] | undefined): Record<string, string> {
  for (const name of only ?? []) secretPath(name);
  return only ? { secrets: only.join(",") } : {};
}

export function secretPath(name: string): string {
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  return `/secrets/${name}`;
}

export function vmPath(name: string): string {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  return `/vms/${name}`;
}

export function wayPath(name: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
    throw new HatchwayError("invalid", `"${name}" is not a way's name: 1 to 32 of a-z 0-9 -, no - first`);
  }
  return `/keys/ways/${name}`;
}

export function query(parameters: Record<string, string>): string {
  const text = new URLSearchParams(parameters).toString();
  return text === "" ? "" : `?${text}`;
}

export function waitQuery(wait: Wait | undefined): Record<string, string> {
  return wait === undefined ? {} : { wait: wait.until, timeout: formatTimeout(wait.timeout) };
}

export function formatTimeout(milliseconds: number): string {
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
}

export function patience(waited: number | undefined): { patience?: number } {
  return waited === undefined ? {} : { patience: waited + SLACK };
}

/** As query parameters, in which nothing can be taken away. */
export function metadataQuery(metadata: MetadataBody): Record<string, string> {
  const parameters: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata) as [string, unknown][]) {
    if (value === undefined) continue;
    if (value === null) {
      throw new HatchwayError("invalid", `${key} cannot be taken away together with a new value`, {
        hint: "do it in two steps",
      });
    }
    parameters[key] = typeof value === "object" ? JSON.stringify(value) : `${value as string | number | boolean}`;
  }
  return parameters;
}

export function jsonBody(body: unknown): { headers: Record<string, string>; body: Buffer } {
  return { headers: { "content-type": "application/json" }, body: Buffer.from(JSON.stringify(body)) };
}

export function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new HatchwayError("unavailable", "the daemon's answer is not JSON", {
      hint: "is another program listening on that socket?",
      cause,
    });
  }
}
