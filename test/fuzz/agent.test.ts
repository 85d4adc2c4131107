// The agent's parsers of what a host, a share or a disk gives it, over inputs that are nearly right. The compiled agent's
// own C, and the engine under it, have scripts/fuzz-agent.
import { AgeReader } from "#agent/age";
import { decodeBase64 } from "#agent/base64";
import { stringsOf } from "#agent/firmware-word";
import { Said } from "#agent/fuzz";
import { HttpClient } from "#agent/http";
import { nodeSys } from "#agent/platform/node";
import { parsePolicy } from "#agent/policy";
import { parseSuperblock } from "#agent/superblock";
import { decodeUtf8 } from "#agent/text";
import { parseIdentity } from "#protocol/age-identity";
import { encodeEnrolWord, parseEnrolWord } from "#protocol/enrol";
import { ageKeyText, ageVectors } from "#test/kit/age-cases";
import { agentInputs } from "#test/kit/agent-inputs";
import { fuzzAll, same, type Target } from "#test/kit/fuzz";

const text = (...seeds: string[]): Buffer[] => seeds.map((seed) => Buffer.from(seed));

const sys = nodeSys([], { state: new Int32Array(2), wake: -1 });
const inputs = await agentInputs();
const seedsOf = (name: string): Pick<Target, "seeds" | "words"> => {
  const known = inputs[name];
  if (!known) throw new Error(`there are no inputs for "${name}"`);
  return known;
};

const targets: Target[] = [
  {
    name: "an answer of the host",
    ...seedsOf("http"),
    inputs: 3_000,
    read: (input) => {
      let size = 0;
      const client = new HttpClient(sys, new Said(input, 7));
      const head = client.exchange({ method: "GET", path: "/" }, 1_000, () => (piece) => (size += piece.length));
      same("the length", size, head.length);
    },
  },
  {
    name: "a table of the firmware",
    seeds: text(
      "\u000b\u0005\0\0\u0002one\0two\0\0",
      `\u000b\u0005\0\0\u0001io.systemd.credential.binary:hatchway.bundle=${"AAAA".repeat(100)}\0\0`,
    ),
    words: ["\0", "\0\0", "\u00ff", "io.systemd.credential.binary:hatchway.bundle="],
    inputs: 3_000,
    read: (input) => {
      const strings = stringsOf(input);
      const size = strings.reduce((sum, { length }) => sum + length + 1, 0);
      if (size > input.length || strings.some((one) => one.includes(0))) throw new Error("strings that are not there");
    },
  },
  {
    name: "base64",
    seeds: [0, 1, 2, 300].map((size) => Buffer.from(Buffer.alloc(size, 0xa5).toString("base64"))),
    words: ["=", "==", "A", "\n", "-"],
    inputs: 3_000,
    read: (input) => same("base64", Buffer.from(decodeBase64(input)).toString("base64"), input.toString("latin1")),
  },
  {
    name: "a disk's first bytes",
    ...seedsOf("superblock"),
    inputs: 300,
    read: (input) => {
      const seen = parseSuperblock(input);
      if (seen && seen.label.length > 32) throw new Error("took a label that is longer than any");
    },
  },
  {
    name: "a policy of credentials",
    ...seedsOf("policy"),
    inputs: 3_000,
    read: (input) => {
      for (const [unit, { secrets }] of parsePolicy(decodeUtf8(input))) {
        if (!/^[^/\0\s]+\.(?:service|socket|mount|swap)$/.test(unit)) throw new Error(`took ${unit}`);
        for (const name of [...secrets].flat())
          if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name)) throw new Error(`took ${name}`);
      }
    },
  },
  {
    name: "an age file",
    seeds: ageVectors().map(({ bytes }) => bytes),
    words: ["-> X25519 ", "-> scrypt ", "\n--- ", "age-encryption.org/v1\n", "\n", "="],
    inputs: 1_500,
    read: (input) => {
      const reader = new AgeReader(
        sys,
        () => parseIdentity(Buffer.from(ageKeyText())),
        () => undefined,
      );
      try {
        for (let at = 0; at < input.length; at += 11) reader.push(input.subarray(at, at + 11));
        reader.end();
      } finally {
        reader.close();
      }
    },
  },
  {
    name: "a word of enrolment",
    ...seedsOf("word"),
    inputs: 3_000,
    read: (input) => same("the word", Buffer.from(encodeEnrolWord(parseEnrolWord(input))).toString(), input.toString()),
  },
];

fuzzAll(targets);
