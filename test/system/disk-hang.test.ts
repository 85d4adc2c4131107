// A disk that does not answer: who waits for it, and who does not.
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { DaemonProcess } from "#test/kit/daemon-process";
import { GuestConnection } from "#test/kit/guest-connection";
import { inject } from "#test/kit/strace";

const KEY = "ab".repeat(32);

test("a guest has its values while every sync of the daemon hangs, and a change waits", async ({ expect }) => {
  await using daemon = new DaemonProcess();
  const { pid } = await daemon.serve();
  await daemon.ok(["secret", "create", "db"], "the password");
  await daemon.ok(["vm", "create", "web", "--secret", "db"]);
  const guest = await GuestConnection.open(join(daemon.runtime, "vm/web/vsock_5107"));
  onTestFinished(() => guest.close());
  const read = (): ReturnType<GuestConnection["ask"]> =>
    guest.ask("GET /v1/secrets/db", { authorization: `Hatchway ${KEY}` });
  await guest.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
  expect((await read())?.body.toString()).toBe("the password");

  const stop = await inject(pid, "fdatasync,fsync:delay_enter=30000000");
  let answered = false;
  const creating = daemon.run(["secret", "create", "other"], "another").then((ended) => {
    answered = true;
    return ended;
  });
  const until = Date.now() + 2_000;
  while (Date.now() < until) expect((await read())?.status).toBe(200);
  expect(answered).toBe(false);
  await stop();
  expect((await creating).stderr).toBe("");
  await daemon.ok(["audit", "verify"]);
});
