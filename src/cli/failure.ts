// How a command fails: lines on stderr, and an exit code.
import type { ErrorBody } from "#api";
import { exitCode, type HatchwayError } from "#error";
import { stripControl } from "#printable";
import { makeStyle } from "./style.ts";
import type { Terminal } from "./session.ts";

/** Thrown when Ctrl-C ended a prompt; the exit code is then 130, as if SIGINT had ended the process. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

export const INTERRUPTED = 130;

/** Writes the error and its hint, or both as JSON. Answers the exit code. */
export function reportError(terminal: Terminal, error: HatchwayError, json: boolean): number {
  if (json) {
    const body: ErrorBody = { error: error.message, code: error.code };
    if (error.hint !== undefined) body.hint = error.hint;
    terminal.stderr.write(`${JSON.stringify(body)}\n`);
  } else {
    const style = makeStyle(terminal.stderr, terminal.env);
    terminal.stderr.write(`${style.red("error:")} ${stripControl(error.message)}\n`);
    if (error.hint !== undefined) {
      terminal.stderr.write(`${style.cyan("hint:")} ${stripControl(error.hint).replaceAll("\n", "\n      ")}\n`);
    }
  }
  return exitCode[error.code];
}
