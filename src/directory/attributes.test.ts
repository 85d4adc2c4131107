import { test } from "vitest";
import { defaultDelivery } from "#secret";
import { attributesOf, changeOf, looseness } from "./attributes.ts";

const root = { uid: 0, gid: 0, chowns: true };
const user = { uid: 1000, gid: 100, chowns: false };

test("a new file's mode and owner are its secret's, whoever looks", ({ expect }) => {
  const file = { mode: 0o440, uid: 1000, gid: 100 };
  for (const maker of [root, user]) {
    expect(changeOf(file, undefined, maker)).toEqual({ mode: "0440", user: 1000, group: 100 });
  }
});

test("only what differs is a change", ({ expect }) => {
  const delivery = { ...defaultDelivery, user: 7 };
  const file = attributesOf(delivery, root);
  expect(file).toEqual({ mode: 0o600, uid: 7, gid: 0 });
  expect(changeOf(file, delivery, root)).toBeUndefined();
  expect(changeOf({ ...file, mode: 0o4 }, delivery, root)).toEqual({ mode: "0004" });
  expect(changeOf({ ...file, gid: 5 }, delivery, root)).toEqual({ group: 5 });
});

test("an owner that no file can have is kept, until somebody gives the file to another", ({ expect }) => {
  const named = { ...defaultDelivery, user: "postgres" };
  expect(attributesOf(named, root)).toMatchObject({ uid: 0 });
  expect(changeOf(attributesOf(named, root), named, root)).toBeUndefined();
  const others = { ...defaultDelivery, user: 33, group: 33 };
  expect(attributesOf(others, user)).toEqual({ mode: 0o600, uid: 1000, gid: 100 });
  expect(changeOf(attributesOf(others, user), others, user)).toBeUndefined();
  expect(changeOf({ mode: 0o600, uid: 0, gid: 100 }, others, user)).toEqual({ user: 0 });
});

test.for([
  [0o600, undefined],
  [0o640, undefined],
  [0o400, undefined],
  [0o500, undefined],
  [0o700, undefined],
  [0o644, "has mode 0644: every user of a guest that has it can read it"],
  [0o660, "has mode 0660, wider than 0640"],
  [0o602, "has mode 0602, wider than 0640"],
] as const)("mode %o is worth a word: %s", ([mode, word], { expect }) => {
  expect(looseness({ mode, uid: 0, gid: 0 })).toBe(word);
});
