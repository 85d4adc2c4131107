// What the agent is sent when all is well, for inputs that are nearly that: of the same names as in agent/fuzz.ts.
import { SUPERBLOCK_BYTES } from "#agent/superblock";
import { sealImage } from "#bundle/sealed";
import { ageFile, ageKeyText, ageVectors } from "#test/kit/age-cases";
import { enrolVectors } from "#test/kit/enrol-cases";
import { goodCases, type BundleCase } from "#test/kit/bundle-cases";
import { caseBundle, imageOf, isWhole } from "#test/kit/case-bundle";
import { bundleVectors } from "#test/kit/vectors";

export interface AgentInputs {
  seeds: readonly Buffer[];
  words: readonly string[];
}

const text = (...seeds: string[]): Buffer[] => seeds.map((seed) => Buffer.from(seed, "latin1"));
const TAR_WORDS = [
  "\0".repeat(512),
  "ustar",
  ".hatchway/manifest.json",
  '"size":',
  '"path":',
  "../",
  "0000777",
  "\u00ff",
];
const PREFIX = "io.systemd.credential.binary:hatchway.bundle=";

/** The first whole bundle of the vectors, which is in the share too. */
export const sharedCase: BundleCase | undefined = goodCases().find(isWhole);

export async function agentInputs(): Promise<Record<string, AgentInputs>> {
  if (!sharedCase) throw new Error("there is no bundle to make images of");
  const bundles = bundleVectors()
    .map(({ bytes }) => bytes)
    .filter(({ length }) => length < 20_000);
  const shared = caseBundle(sharedCase);
  const superblocks = await Promise.all(
    (["erofs", "squashfs", "iso"] as const).map(async (format) =>
      (await imageOf(shared, format)).subarray(0, SUPERBLOCK_BYTES),
    ),
  );
  const { bytes: tar } = sharedCase;
  const whole = { size: tar.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(tar) };
  const sealed = await sealImage(whole, "tar", async (plain) => ageFile(Buffer.from(plain)));
  const answers = bundles.slice(0, 5).map((body) => {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nETag: "e1.1.7"\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), body]);
  });
  const tables = bundles
    .filter(({ length }) => length < 5_000)
    .map((bytes) => `\u000b\u0005\0\0\u0002one\0${PREFIX}${bytes.toString("base64")}\0\0`);
  return {
    bundle: { seeds: bundles, words: TAR_WORDS },
    http: {
      seeds: [
        ...answers,
        ...text(
          'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: "r"\r\nConnection: close\r\n\r\nhello, world',
          "HTTP/1.1 304 Not Modified\r\nDate: now\r\n\r\n",
          'HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"error":"taken"}',
        ),
      ],
      words: [
        "\r\n",
        "\n",
        "\r",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 \r\n",
        "\0",
        ": ",
      ],
    },
    "fw-cfg": { seeds: bundles, words: TAR_WORDS },
    smbios: {
      seeds: text(...tables, "\u000b\u0005\0\0\u0002one\0two\0\0"),
      words: ["\0", "\0\0", "\u00ff", PREFIX, "=", "AAAA"],
    },
    superblock: { seeds: superblocks, words: ["HATCHWAY", "CD001", "hsqs", "\u00e2\u00e1\u00f5\u00e0", "\0"] },
    policy: {
      seeds: text(
        "allow app.service db=db-password TOKEN\non-change app.service restart\n# a word\nallow a@.service x\n",
      ),
      words: [
        "allow ",
        "on-change ",
        "\n",
        "\t",
        "=",
        "@.service",
        "../",
        "\u0000",
        "reload",
        "\u00e9",
        "\u00f0\u0080",
      ],
    },
    file: {
      seeds: [...bundles, ...ageVectors().map(({ bytes }) => bytes), ageFile(sharedCase.bytes), sealed],
      words: [...TAR_WORDS, "-> X25519 ", "\n--- ", "age-encryption.org/v1\n", "hatchway seal 1\n"],
    },
    identity: { seeds: text(ageKeyText()), words: ["\n", "\r", "#", "AGE-SECRET-KEY-1", "B", "q"] },
    word: { seeds: text(...enrolVectors().map(({ word }) => word)), words: [".", "1.", "F", "\n"] },
    share: {
      seeds: [
        Buffer.from(
          sharedCase.bytes.subarray(512, 512 + Number.parseInt(sharedCase.bytes.toString("latin1", 124, 135), 8)),
        ),
      ],
      words: [
        '"path":',
        '"../x"',
        '"size":',
        "99999999",
        '"mode":"4755"',
        '{"',
        "[[",
        "\\u0000",
        "\\ud800",
        '"__proto__":',
        "\u00ff",
      ],
    },
  };
}
