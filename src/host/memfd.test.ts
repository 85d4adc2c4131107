import { closeSync, fstatSync, ftruncateSync, readFileSync, readlinkSync, statfsSync, writeSync } from "node:fs";
import { test } from "vitest";
import { memoryFile } from "#host/memfd";

test("a file in memory has its bytes, no name, and changes no more", ({ expect }) => {
  for (const bytes of [Buffer.alloc(0), Buffer.from("value"), Buffer.alloc(1_048_576, 7)]) {
    const fd = memoryFile("test", bytes);
    expect(readFileSync(`/proc/self/fd/${fd}`).equals(bytes)).toBe(true);
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe("/memfd:test (deleted)");
    expect([fstatSync(fd).nlink, statfsSync(`/proc/self/fd/${fd}`).type]).toEqual([0, 0x01021994]);
    expect(() => writeSync(fd, "x", 0)).toThrow("EPERM");
    expect(() => ftruncateSync(fd, 9)).toThrow("EPERM");
    closeSync(fd);
  }
});
