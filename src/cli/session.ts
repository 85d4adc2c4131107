// What a command works with: its terminal, its daemon, and the few ways in which it says something.
import type { Readable, Writable } from "node:stream";
import type { Client } from "#client/client";
import { connect } from "#client/connect";
import { makeStyle, type Style } from "./style.ts";

/** The standard streams and the environment, as the process has them or as a test makes them. */
export interface Terminal {
  stdin: Readable & { isTTY?: boolean; setRawMode?: (raw: boolean) => unknown };
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean; columns?: number };
  env: NodeJS.ProcessEnv;
}

export interface Session {
  terminal: Terminal;
  /** Whether JSON was asked for. */
  json: boolean;
  /** Styles for stdout and for stderr. */
  style: { out: Style; err: Style };
  client: Client;
  /** Writes to stdout; adds the newline. */
  print(text: string): void;
  printJson(value: unknown): void;
  /** What was asked for as JSON if JSON was asked for, else as text. */
  report(value: unknown, text: () => string): void;
  /** Writes a `warning: …` line to stderr. */
  warn(text: string): void;
  /** Writes a `hint: …` line to stderr. */
  hint(text: string): void;
  /** Lets go of what the client has open. */
  close(): Promise<void>;
}

export function makeSession(terminal: Terminal, options: { json?: boolean; connect?: string }): Session {
  const style = { out: makeStyle(terminal.stdout, terminal.env), err: makeStyle(terminal.stderr, terminal.env) };
  const json = options.json === true;
  let client: Client | undefined;
  const print = (text: string): void => void terminal.stdout.write(`${text}\n`);
  const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));
  return {
    terminal,
    json,
    style,
    get client(): Client {
      return (client ??= connect(options.connect, terminal.env));
    },
    print,
    printJson,
    report: (value, text) => (json ? printJson(value) : print(text())),
    warn: (text) => void terminal.stderr.write(`${style.err.yellow("warning:")} ${text}\n`),
    hint: (text) => void terminal.stderr.write(`${style.err.cyan("hint:")} ${text}\n`),
    close: async () => client?.close(),
  };
}
