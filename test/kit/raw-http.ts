// Requests as bytes, from files: test/vectors/http/*.http, where line ends mean nothing and every byte is written out.
//
//   # What it is.
//   # admin 400, tcp 400, runner 400, guest 400      the statuses that come back, + between; | or these; closed: none
//   GET $GET HTTP/1.1\r\n
//   $HEAD\r\n
//
// \r \n \0 \\ \xHH are bytes, {text*N} is text N times. $GET is a path that may be read there, $ONE one of a secret,
// $POST one that takes JSON, $HEAD the headers that name host and caller, $LENGTH how much follows the empty line. $END
// ends the connection; else it ends when there was an answer.
import { readdirSync, readFileSync } from "node:fs";
import { connect, type NetConnectOpts } from "node:net";

/** One of the daemon's sockets, and what stands for it in the files. */
export interface Surface {
  name: string;
  at: NetConnectOpts;
  get: string;
  one: string;
  post: string;
  head: string;
}

export interface RawCase {
  file: string;
  about: string;
  /** By surface. */
  expected: Record<string, string>;
  text: string;
}

const FOLDER = new URL("../vectors/http/", import.meta.url);

export function rawCases(): RawCase[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(".http"));
  return files.toSorted().map((file) => {
    const [about = "", statuses = "", ...lines] = readFileSync(new URL(file, FOLDER), "utf8").split("\n");
    const expected = statuses
      .slice(2)
      .split(", ")
      .map((pair) => pair.split(" "));
    return {
      file,
      about: about.slice(2),
      expected: Object.fromEntries(expected) as Record<string, string>,
      text: lines.join(""),
    };
  });
}

export interface RawRequest {
  bytes: Buffer;
  /** Whether nothing comes after it, though it is not whole. */
  ends: boolean;
}

/** A case as `surface` is to be sent it. */
export function requestOf({ text }: RawCase, { get, one, post, head }: Surface): RawRequest {
  const ends = text.endsWith("$END");
  const words: Record<string, string> = { GET: get, ONE: one, POST: post, HEAD: head };
  const filled = text.replace("$END", "").replaceAll(/\$(GET|ONE|POST|HEAD)/g, (_, word: string) => words[word] ?? "");
  const repeated = filled.replaceAll(/\{([^{}]*)\*([0-9]+)\}/g, (_, part: string, count) => part.repeat(Number(count)));
  const [header = "", ...body] = repeated.split("\\r\\n\\r\\n");
  const length = bytes(body.join("\\r\\n\\r\\n")).length;
  return { bytes: bytes([header.replaceAll("$LENGTH", `${length}`), ...body].join("\\r\\n\\r\\n")), ends };
}

const ESCAPES: Record<string, string> = { r: "\r", n: "\n", 0: "\0", "\\": "\\" };

function bytes(text: string): Buffer {
  const plain = text.replaceAll(/\\(x[0-9a-f]{2}|.)/g, (_, escape: string) =>
    escape.startsWith("x") ? String.fromCharCode(Number.parseInt(escape.slice(1), 16)) : (ESCAPES[escape] ?? escape),
  );
  return Buffer.from(plain, "latin1");
}

/** Milliseconds for a second answer to come after the first. */
const MORE = 30;

/** Sends all, and ends once it is answered; the statuses of the answers until the other side closes, with + between. */
export async function statusesOf(surface: Surface, { bytes: sent, ends }: RawRequest): Promise<string> {
  const socket = connect(surface.at);
  let text = "";
  // A server that has answered may close before it has read all.
  const closed = new Promise<void>((resolve) => socket.once("error", () => resolve()).once("close", () => resolve()));
  let ending: NodeJS.Timeout | undefined;
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    clearTimeout(ending);
    ending = setTimeout(() => socket.end(), MORE);
  });
  if (ends) socket.end(sent);
  else socket.write(sent);
  await closed;
  clearTimeout(ending);
  const statuses = Array.from(text.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g), ([, status]) => status);
  return statuses.length === 0 ? "closed" : statuses.join("+");
}
