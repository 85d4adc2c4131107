import { test } from "vitest";
import { refuse } from "#admin/refusal";
import { HatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";

function refused(thrown: unknown): { told: ReturnType<typeof refuse>; log: string[] } {
  const log: string[] = [];
  const told = refuse(thrown, (line) => void log.push(line));
  return { told, log };
}

test("what a user did wrong is told to him and not to the log", ({ expect }) => {
  const { told, log } = refused(new HatchwayError("not-found", 'secret "a" does not exist', { hint: "make it" }));
  expect(told).toEqual({
    status: 404,
    body: { error: 'secret "a" does not exist', code: "not-found", hint: "make it" },
  });
  expect(log).toEqual([]);
});

test("a broken rule of the protocol is the request's fault", ({ expect }) => {
  const { told } = refused(new ProtocolError('env "A" is there twice'));
  expect(told).toEqual({ status: 400, body: { error: 'env "A" is there twice', code: "invalid" } });
});

test("a fault of ours is an id outside, and its causes in the log", ({ expect }) => {
  const { told, log } = refused(new HatchwayError("internal", "x is undefined", { cause: new RangeError("why") }));
  const id = /^internal error ([0-9a-f]{12})$/.exec(told.body.error)?.[1];
  expect(told.status).toBe(500);
  expect(log).toHaveLength(1);
  expect(log[0]).toContain(`internal error ${id}: HatchwayError: x is undefined <- RangeError: why (at `);
});

test("what the operator has to look after is told to both", ({ expect }) => {
  const { told, log } = refused(new HatchwayError("unavailable", "the disk does not answer"));
  expect(told.body).toEqual({ error: "the disk does not answer", code: "unavailable" });
  expect(log[0]).toContain("the disk does not answer");
});

test("even what is no error", ({ expect }) => {
  const { told, log } = refused("a string");
  expect(told.body.code).toBe("internal");
  expect(log[0]).toContain("a string was thrown");
});
