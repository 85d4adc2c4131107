// systemd's EnvironmentFile (systemd.exec(5)), the part of it that any value survives: NAME="…", in which a backslash
// stands before each of " \ $ ` and every other byte, a newline too, stands for itself. systemd reads a file that is
// UTF-8 and without NUL, or refuses all of it; so a value that is not so is kept out.
import { asciiBytes } from "#protocol/json";
import { isUtf8 } from "./text.ts";

const BACKSLASH = 0x5c;
const ESCAPED: ReadonlySet<number> = new Set([0x22, BACKSLASH, 0x24, 0x60]);

/** Why a value cannot be an environment variable; undefined when it can. */
export function environmentProblem(value: Uint8Array): string | undefined {
  if (value.includes(0)) return "its value has a NUL byte, which an environment variable cannot hold";
  if (!isUtf8(value)) return "its value is not UTF-8, as systemd wants an environment variable to be";
  return undefined;
}

/** One assignment with its newline. The caller wipes it. */
export function assignment(name: string, value: Uint8Array): Uint8Array {
  let escapes = 0;
  for (const byte of value) if (ESCAPED.has(byte)) escapes++;
  const line = new Uint8Array(name.length + 2 + value.length + escapes + 2);
  line.set(asciiBytes(`${name}="`));
  let at = name.length + 2;
  for (const byte of value) {
    if (ESCAPED.has(byte)) line[at++] = BACKSLASH;
    line[at++] = byte;
  }
  line.set(asciiBytes('"\n'), at);
  return line;
}
