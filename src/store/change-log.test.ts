import { describe, it } from "vitest";
import type { WatchEvent } from "#store";
import { ChangeLog } from "./change-log.ts";

const microtasks = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("change log", () => {
  it("resets a watcher that fell too far behind, and goes on", async ({ expect }) => {
    const log = new ChangeLog(0);
    const events: WatchEvent[] = [];
    log.watch(0, (event) => events.push(event));
    for (let count = 0; count < 2_000; count += 1) log.append(["a"]);
    await microtasks();
    log.append(["b"]);
    await microtasks();
    expect(events).toEqual([{ kind: "reset" }, { kind: "changes", revision: 2_001, keys: ["b"] }]);
  });

  it("knows what was written since, and says yes where it has forgotten", ({ expect }) => {
    const log = new ChangeLog(5);
    log.append(["a"]);
    log.append(["b"]);
    expect(log.changedSince(5, "a")).toBe(true);
    expect(log.changedSince(6, "a")).toBe(false);
    expect(log.changedSince(6, "b")).toBe(true);
    expect(log.changedSince(7, "b")).toBe(false);
    expect(log.changedSince(4, "c")).toBe(true);
    for (let count = 0; count < 2_000; count += 1) log.append([]);
    expect(log.changedSince(7, "a")).toBe(true);
  });
});
