import type { Session } from "./session.ts";

/** Before that, most work is done and nothing needs to be said. */
const QUIET = 400;
const CLEAR_LINE = "\r\u001b[K";

/** While `work` goes on, says so in one line on stderr that is rewritten each second; only on a terminal. */
export async function withProgress<Result>(
  session: Session,
  text: () => string,
  work: Promise<Result>,
): Promise<Result> {
  const { stderr, env } = session.terminal;
  if (stderr.isTTY !== true || session.json || env["TERM"] === "dumb") return work;
  const begun = performance.now();
  let shown = false;
  const show = (): void => {
    const line = `${text()} (${Math.floor((performance.now() - begun) / 1000)} s)`;
    stderr.write(CLEAR_LINE + line.slice(0, (stderr.columns ?? 80) - 1));
    shown = true;
  };
  let timer: NodeJS.Timeout = setTimeout(() => {
    show();
    timer = setInterval(show, 1000);
  }, QUIET);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (shown) stderr.write(CLEAR_LINE);
  }
}
