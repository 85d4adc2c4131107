import { test } from "vitest";
import { Patience } from "#vault/patience";

test("who guesses waits, twice as long each time up to a minute, and nobody else does", ({ expect }) => {
  let now = 0;
  const patience = new Patience(() => now);
  patience.check("ada");
  for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
    patience.wrong("ada");
    patience.check("ben");
    now += seconds * 1000 - 1;
    expect(() => patience.check("ada"), `after ${seconds} s`).toThrow("the try before was wrong");
    now += 1;
    patience.check("ada");
  }
  patience.wrong("ada");
  patience.right();
  patience.check("ada");
});
