// The program of scripts/fuzz-agent: `fuzz TARGET SCRATCH`. Each input comes on stdin behind its length, four bytes of it,
// the lowest first; each is answered by a byte on stdout, "t" for taken or "r" for refused. What is neither ends it.
import { fuzzTargets, readExactly, verdictOf } from "./fuzz.ts";
import { quickjs as sys } from "#agent/platform/quickjs";
import { decodeUtf8 } from "./text.ts";

const STDIN = 0;
const STDOUT = 1;
const ANSWERS = { taken: Uint8Array.of(0x74), refused: Uint8Array.of(0x72) };

const [target = "", scratch = ""] = sys.args().map(decodeUtf8);
const read = fuzzTargets(sys, scratch)[target];
if (!read) sys.exit(2);
for (;;) {
  const head = readExactly(sys, STDIN, 4);
  if (!head) sys.exit(0);
  const length = head.reduceRight((sum, byte) => sum * 256 + byte, 0);
  const input = readExactly(sys, STDIN, length);
  if (!input) sys.exit(0);
  sys.write(STDOUT, ANSWERS[verdictOf(read, input)]);
}
