import { execFileSync } from "node:child_process";
import { test } from "vitest";

test("a process that hid its memory is read by no other process of its user, and leaves no core", ({ expect }) => {
  // To another process of the same user its files in /proc are root's then (proc(5)); the test runs as root, so the
  // kernel's own word for it is asked: the limit on who may read is what PR_GET_DUMPABLE (3) gives back.
  const script = `
    import koffi from "koffi";
    import { hideMemory } from "#host/libc";
    const prctl = koffi.load("libc.so.6").func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)");
    const before = prctl(3, 0n, 0n, 0n, 0n);
    hideMemory();
    console.log(before, prctl(3, 0n, 0n, 0n, 0n));
  `;
  const printed = execFileSync(process.execPath, ["--input-type=module-typescript", "--eval", script]).toString();
  expect(printed.trim().split(" ").at(-1)).toBe("0");
});
