import { array, assert, property, string } from "fast-check";
import { describe, it } from "vitest";
import { assignment, environmentProblem } from "#agent/envfile";

/**
 * What systemd reads from an EnvironmentFile: the states of parse_env_file_internal() in its env-file.c, version 257, as
 * far as a name and a value that may be quoted reach.
 */
function readAsSystemd(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let state: "before" | "key" | "pre-value" | "value" | "single" | "double" | "escape" | "comment" = "before";
  let key = "";
  let value = "";
  const push = (): void => {
    found.set(key, value);
    key = "";
    value = "";
    state = "before";
  };
  for (const char of text) {
    switch (state) {
      case "before":
        if (char === "#" || char === ";") state = "comment";
        else if (!/\s/.test(char)) {
          state = "key";
          key = char;
        }
        break;
      case "key":
        if (char === "=") state = "pre-value";
        else key += char;
        break;
      case "pre-value":
        if (char === "\n") push();
        else if (char === '"') state = "double";
        else if (char === "'") state = "single";
        else {
          state = "value";
          value += char;
        }
        break;
      case "value":
        if (char === "\n") push();
        else value += char;
        break;
      case "single":
        if (char === "'") state = "pre-value";
        else value += char;
        break;
      case "double":
        if (char === '"') state = "pre-value";
        else if (char === "\\") state = "escape";
        else value += char;
        break;
      case "escape":
        state = "double";
        if ('"\\`$'.includes(char)) value += char;
        else if (char !== "\n") value += `\\${char}`;
        break;
      case "comment":
        if (char === "\n") state = "before";
        break;
    }
  }
  return found;
}

describe("an EnvironmentFile", () => {
  it("gives systemd the value, whatever it is", ({ expect }) => {
    assert(
      property(array(string({ unit: "binary" }), { minLength: 1, maxLength: 5 }), (values) => {
        const clean = values.map((value) => value.replaceAll("\0", ""));
        const lines = clean.map((value, index) => Buffer.from(assignment(`V${index}`, Buffer.from(value))));
        const read = readAsSystemd(Buffer.concat(lines).toString());
        expect([...read.values()]).toEqual(clean);
      }),
    );
  });

  it("quotes what shells and systemd would expand", ({ expect }) => {
    const value = Buffer.from("a\"b\\c$d`e\nf'g");
    expect(Buffer.from(assignment("X", value)).toString()).toBe('X="a\\"b\\\\c\\$d\\`e\nf\'g"\n');
  });

  it("takes no value that systemd would refuse the whole file for", ({ expect }) => {
    expect(environmentProblem(Buffer.from("pässwörd\n"))).toBeUndefined();
    expect(environmentProblem(Buffer.from("a\0b"))).toContain("NUL");
    expect(environmentProblem(Buffer.from([0xc3, 0x28]))).toContain("UTF-8");
  });
});
