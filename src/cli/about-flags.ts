// The flags that say something of a secret to people: `--description`, `--label k=v`, `--default`.
import { descriptionProblem, labelKeyProblem, labelValueProblem } from "#about";
import type { AboutBody, SecretBody } from "#api";
import { HatchwayError } from "#error";

export interface AboutFlags {
  description?: string;
  label?: string[];
  default?: boolean;
}

/** What the flags ask for, with absent flags absent. Throws "invalid". */
export function parseAbout(flags: AboutFlags): AboutBody {
  const body: AboutBody = {};
  if (flags.description !== undefined) body.description = parseDescription(flags.description);
  if (flags.label !== undefined) body.labels = parseLabels(flags.label);
  if (flags.default !== undefined) body.default = flags.default;
  return body;
}

/** An empty one takes away what is there. */
function parseDescription(text: string): string | null {
  if (text === "") return null;
  const problem = descriptionProblem(text);
  if (problem !== undefined) throw new HatchwayError("invalid", `--description ${problem}`);
  return text;
}

/** `k=v` sets, `k-` takes away. */
function parseLabels(words: readonly string[]): Record<string, string | null> {
  const labels: Record<string, string | null> = {};
  for (const word of words) {
    const [key, value] = word.includes("=") ? parseLabel(word) : [removedKey(word), null];
    if (Object.hasOwn(labels, key)) throw new HatchwayError("invalid", `--label "${key}" is given twice`);
    labels[key] = value;
  }
  return labels;
}

function parseLabel(word: string): [key: string, value: string] {
  const equals = word.indexOf("=");
  const [key, value] = [word.slice(0, equals), word.slice(equals + 1)];
  const problem = labelKeyProblem(key) ?? labelValueProblem(value);
  if (problem !== undefined) throw new HatchwayError("invalid", `--label "${word}" ${problem}`);
  return [key, value];
}

function removedKey(word: string): string {
  const key = word.slice(0, -1);
  if (word.endsWith("-") && labelKeyProblem(key) === undefined) return key;
  throw new HatchwayError("invalid", `--label "${word}" is neither name=value nor name-`);
}

/** Whether a secret has all labels of `words`: `k=v`, or `k` with any value. */
export function labelFilter(words: readonly string[]): (secret: SecretBody) => boolean {
  const wanted = words.map((word): [key: string, value: string | undefined] => {
    if (word.includes("=")) return parseLabel(word);
    const problem = labelKeyProblem(word);
    if (problem !== undefined) throw new HatchwayError("invalid", `--label "${word}" ${problem}`);
    return [word, undefined];
  });
  return ({ labels = {} }) =>
    wanted.every(([key, value]) => Object.hasOwn(labels, key) && (value === undefined || labels[key] === value));
}

/** `team=web, env=prod`; undefined without any. */
export function describeLabels({ labels }: SecretBody): string | undefined {
  if (labels === undefined) return undefined;
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
}
