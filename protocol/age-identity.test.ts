import { it } from "vitest";
import { ageKeyText } from "#test/kit/age-cases";
import { parseIdentity } from "./age-identity.ts";

const read = (text: string): Uint8Array => parseIdentity(Buffer.from(text));

it("an identity is one line of Bech32, and nothing else is one", ({ expect }) => {
  const line = ageKeyText().split("\n")[1] ?? "";
  expect(Buffer.from(read(`\r\n# a comment\r\n${line}\r\n`))).toEqual(Buffer.from(read(line)));
  const swapped = line.replace(/(.)(.)$/, (_, one: string, two: string) => (one === two ? `Q${two}` : two + one));
  for (const [text, rule] of [
    ["", "0 lines, and it should be one key of age"],
    [`${line}\n${line}\n`, "2 lines"],
    [line.slice(0, -1), "58 characters behind it"],
    [line.toLowerCase(), "not AGE-SECRET-KEY-1"],
    [`${line} `, "58 characters behind it"],
    [line.replace(/.$/, "B"), "none of Bech32's"],
    [swapped, "its checksum does not hold"],
    ["AGE-PLUGIN-YUBIKEY-1XXXX", "not AGE-SECRET-KEY-1"],
  ] as const) {
    expect(() => read(text), text).toThrow(rule);
  }
});
