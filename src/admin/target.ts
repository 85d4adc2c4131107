import { quoted } from "#admin/json-value";
import { HatchwayError } from "#error";
import { secretNameProblem } from "#protocol/names";

/** Slicer's clients are known to end these two with a slash. */
const SLASH_TOLERATED = /^\/secrets(?:\/[^/]+)?\/$/;

/**
 * The path and query of a request as it stands on the wire (origin form, RFC 9112), or a refusal: "invalid" for
 * anything that another reader could take for something else. A part is decoded once and is a name then, so there is
 * no slash, no NUL, no `..` and no second encoding in it; nothing is normalised.
 */
export function readTarget(raw: string): string {
  if (!raw.startsWith("/") || raw.includes("#")) throw refused("is not a path with a query");
  const mark = raw.indexOf("?");
  const path = mark < 0 ? raw : raw.slice(0, mark);
  const parts = (SLASH_TOLERATED.test(path) ? path.slice(0, -1) : path).slice(1).split("/");
  return `/${parts.map(readPart).join("/")}${mark < 0 ? "" : raw.slice(mark)}`;
}

/** Every fixed part of a route, and every name, is of the grammar of secrets' names. */
function readPart(part: string): string {
  if (part === "") throw refused("has an empty part");
  const name = decode(part);
  if (secretNameProblem(name) !== undefined) {
    throw refused(`has the part ${quoted(name)}: 1 to 100 of A-Z a-z 0-9 . _ -, the first a letter, digit or _`);
  }
  return name;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new HatchwayError("invalid", "the request's path is not percent-encoded UTF-8", { cause });
  }
}

function refused(why: string): HatchwayError {
  return new HatchwayError("invalid", `the request's path ${why}`);
}
