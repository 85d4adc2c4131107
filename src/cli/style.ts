/** Colours, which are none where the stream is no terminal, NO_COLOR is set (https://no-color.org) or TERM is dumb. */
export interface Style {
  red(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
  bold(text: string): string;
}

export function makeStyle(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): Style {
  const colours = stream.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const sgr = (code: number) => (text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  return { red: sgr(31), yellow: sgr(33), cyan: sgr(36), bold: sgr(1) };
}
