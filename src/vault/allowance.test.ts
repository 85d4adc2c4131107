import { test, vi } from "vitest";
import { Allowance } from "#vault/allowance";

test("a VM may use a burst, and then as much as comes back; others have their own", ({ expect }) => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  try {
    const allowance = new Allowance(10, 2);
    expect(allowance.take("a", 10)).toBe(true);
    expect(allowance.take("a", 1)).toBe(false);
    expect(allowance.take("b", 10)).toBe(true);
    vi.advanceTimersByTime(1_000);
    expect([allowance.take("a", 2), allowance.take("a", 1)]).toEqual([true, false]);
    vi.advanceTimersByTime(60_000);
    expect([allowance.take("a", 11), allowance.take("a", 10)]).toEqual([false, true]);
    allowance.forget("a");
    expect(allowance.take("a", 10)).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});
