import { readFile } from "node:fs/promises";
import { isMap, isScalar, LineCounter, parseDocument } from "yaml";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";

/** The host's settings: `config.yaml`. */
export interface Config {
  /** What a VM gets whose request has no list of secrets: nothing but the defaults, or all, as Slicer does. */
  attach: "defaults" | "all";
}

/** Reads the settings; a missing file means the defaults. Throws "invalid" with the line of what is wrong. */
export async function readConfig(path: string): Promise<Config> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return { attach: "defaults" };
    throw new HatchwayError("unavailable", `cannot read the configuration "${path}"`, { cause });
  }
  return parseConfig(path, text);
}

export function parseConfig(path: string, text: string): Config {
  const config: Config = { attach: "defaults" };
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const wrong = (offset: number, problem: string): HatchwayError =>
    new HatchwayError("invalid", `"${path}", line ${lines.linePos(offset).line}: ${problem}`);
  const [error] = document.errors;
  if (error) throw wrong(error.pos[0], error.code.toLowerCase().replaceAll("_", " "));
  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null)) return config;
  if (!isMap(contents)) throw wrong(0, "not a mapping of keys to values");
  for (const { key, value } of contents.items) {
    const at = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
    const name = isScalar(key) ? String(key.value) : "?";
    const setting = isScalar(value) ? value.value : undefined;
    if (name !== "attach") throw wrong(at, `unknown key "${name}"; known: attach`);
    if (setting !== "defaults" && setting !== "all") throw wrong(at, 'attach is "defaults" or "all"');
    config.attach = setting;
  }
  return config;
}
