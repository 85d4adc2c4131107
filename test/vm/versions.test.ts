// Versions, pins, names and defaults, as a running guest sees them.
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const VM = "web-1";
const ROOT = "/run/hatchway/secrets";

describe("in a running guest", () => {
  let session: Session;
  const read = (name: string): Promise<string> => session.guest(VM, `cat ${ROOT}/${name}`);

  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "set", "db"], { stdin: "one" });
    await session.ok(["secret", "set", "proxy", "--default"], { stdin: "for all" });
    await session.ok(["vm", "launch", VM, "--secret", "db", "--wait", "--timeout", "60s"]);
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("a default secret is there beside those that were asked for", async ({ expect }) => {
    expect(await session.guest(VM, `ls ${ROOT}`)).toBe("db\nproxy\n");
  });

  it("a rollback arrives as any new version does", async ({ expect }) => {
    await session.ok(["secret", "update", "db", "--wait"], { stdin: "two" });
    await session.ok(["secret", "rollback", "db", "--wait"]);
    expect(await read("db")).toBe("one");
  });

  it("a pinned version stays, in sync, until it is unpinned", async ({ expect }) => {
    await session.ok(["vm", "attach", VM, "db", "--pin"]);
    const said = await session.ok(["secret", "update", "db", "--wait"], { stdin: "newer" });
    expect(said).toContain(`in sync: ${VM}`);
    expect(await read("db")).toBe("one");
    await session.ok(["vm", "unpin", VM, "db"]);
    await session.synced(VM);
    expect(await read("db")).toBe("newer");
  });

  it("a secret that is renamed keeps its file, and goes on being updated", async ({ expect }) => {
    await session.ok(["secret", "rename", "db", "shop-db"]);
    await session.synced(VM);
    expect(await session.guest(VM, `ls ${ROOT}`)).toBe("db\nproxy\n");
    expect(await read("db")).toBe("newer");
    await session.ok(["secret", "update", "shop-db", "--wait"], { stdin: "under its new name" });
    expect(await read("db")).toBe("under its new name");
  });
});
