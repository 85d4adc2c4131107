import { readFileSync } from "node:fs";
import { describe, it } from "vitest";
import { ENROL_VECTORS, enrolText, enrolVectors } from "#test/kit/enrol-cases";
import { Enrolling } from "#test/kit/enrolling";
import { encodeEnrolWord, enrolTranscript, parseEnrolWord } from "./enrol.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

describe("enrolment", () => {
  it("is one of those that the cases make", ({ expect }) => {
    expect(readFileSync(ENROL_VECTORS, "utf8"), "run scripts/make-vectors.ts").toBe(enrolText());
  });

  it("has the transcript, MAC and reply of each vector, by the agent's cryptography", ({ expect }) => {
    for (const vector of enrolVectors()) {
      const { generation } = vector;
      const word = parseEnrolWord(Buffer.from(vector.word));
      expect(Buffer.from(encodeEnrolWord(word)).toString()).toBe(vector.word);
      const [guest, nonce] = [hex(vector.guest), hex(vector.nonce)];
      const transcript = enrolTranscript({ host: word.host, guest, vm: word.vm, generation, nonce });
      expect(Buffer.from(transcript).toString("hex")).toBe(vector.transcript);
      const side = new Enrolling(Buffer.from(vector.word), hex(vector.guestScalar), generation, nonce);
      expect(side.request.guest.toString("hex")).toBe(vector.guest);
      expect(side.request.mac.toString("hex")).toBe(vector.mac);
      expect(side.open(hex(vector.sealed))?.toString("hex")).toBe(vector.claim);
      const edited = hex(vector.sealed);
      edited[0] = (edited[0] ?? 0) ^ 1;
      expect(side.open(edited)).toBeUndefined();
    }
  });

  it("takes the word as it is, or refuses it", ({ expect }) => {
    const [{ word } = { word: "" }] = enrolVectors();
    for (const [text, rule] of [
      ["", "its version is not 1"],
      [`2${word.slice(1)}`, "its version is not 1"],
      [word.slice(0, -1), "163 bytes, and it should have 164"],
      [`${word}\n`, "165 bytes"],
      [word.toUpperCase(), "none of lower-case hex"],
      [word.replace(/.$/, "g"), "none of lower-case hex"],
      [word.replace(/\.(.*)\./, ".$1:"), "no dot between its parts"],
    ] as const) {
      expect(() => parseEnrolWord(Buffer.from(text)), text).toThrow(rule);
    }
  });
});
