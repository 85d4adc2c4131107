import { test } from "vitest";
import { hostUser } from "#host/users";

test("root is found by name and by uid", async ({ expect }) => {
  const root = { name: "root", uid: 0, gid: 0 };
  expect(await hostUser("root")).toEqual(root);
  expect(await hostUser(0)).toEqual(root);
});

test("a user who is not there is undefined", async ({ expect }) => {
  expect(await hostUser("no-such-user-here")).toBeUndefined();
  expect(await hostUser(4_000_000_001)).toBeUndefined();
});
