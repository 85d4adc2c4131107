/** What people say of a secret: it is for them to find it by, and reaches no guest. */
export interface About {
  description?: string;
  /** Absent where there are none. */
  labels?: Readonly<Record<string, string>>;
  /** Attached to every new VM whose request does not refuse that. Absent: no. */
  default?: true;
}

/** An absent key leaves what is there; null takes a description or one label away. */
export interface AboutChange {
  description?: string | null;
  labels?: Readonly<Record<string, string | null>>;
  default?: boolean;
}

/** Labels of one secret, at most. */
export const MAX_LABELS = 32;

const LABEL_KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[!-~](?:[ -~]{0,126}[!-~])?)?$/;
const DESCRIPTION = /^[^\p{Cc}\p{Cs}\u2028\u2029]{1,500}$/u;

// As in protocol/names.ts: undefined for a good value, else what is wrong, worded to follow the quoted value.

export function labelKeyProblem(key: string): string | undefined {
  if (LABEL_KEY.test(key)) return undefined;
  return "is not a label's name: 1 to 63 of A-Z a-z 0-9 . _ / -, the first and the last a letter or digit";
}

export function labelValueProblem(value: string): string | undefined {
  if (LABEL_VALUE.test(value)) return undefined;
  return "is not a label's value: up to 128 printable ascii characters, no space first or last";
}

export function descriptionProblem(description: string): string | undefined {
  return DESCRIPTION.test(description) ? undefined : "is not a description: one line of 1 to 500 characters";
}

/** `before` with `change`; absent keys stay absent, so that equal words are equal records. */
export function mergeAbout(before: About, change: AboutChange): About {
  const description = change.description === undefined ? before.description : (change.description ?? undefined);
  const labels = new Map(Object.entries(before.labels ?? {}));
  for (const [key, value] of Object.entries(change.labels ?? {})) {
    if (value === null) labels.delete(key);
    else labels.set(key, value);
  }
  const sorted = [...labels].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    ...(description !== undefined && { description }),
    ...(sorted.length > 0 && { labels: Object.fromEntries(sorted) }),
    ...((change.default ?? before.default) && { default: true as const }),
  };
}

/** Undefined for words that keep the rules; else the whole problem. */
export function aboutProblem({ description, labels = {} }: About): string | undefined {
  const wrong = description === undefined ? undefined : descriptionProblem(description);
  if (wrong !== undefined) return `the description ${wrong}`;
  const all = Object.entries(labels);
  if (all.length > MAX_LABELS) return `${all.length} labels: a secret has at most ${MAX_LABELS}`;
  for (const [key, value] of all) {
    const problem = labelKeyProblem(key) ?? labelValueProblem(value);
    if (problem !== undefined) return `label "${`${key}=${value}`.slice(0, 160)}" ${problem}`;
  }
  return undefined;
}
