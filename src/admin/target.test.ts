import { describe, test } from "vitest";
import { readTarget } from "#admin/target";

describe("taken as it stands", () => {
  test.for([
    ["/secrets", "/secrets"],
    ["/secrets/", "/secrets"],
    ["/secrets/a.b-c_1/", "/secrets/a.b-c_1"],
    ["/secrets/%61pi%2Dkey", "/secrets/api-key"],
    ["/vms?wait=agent&timeout=30s", "/vms?wait=agent&timeout=30s"],
    ["/secrets/a/value?path=a%2Fb", "/secrets/a/value?path=a%2Fb"],
  ])("%s", ([raw, target], { expect }) => {
    expect(readTarget(raw ?? "")).toBe(target);
  });
});

describe("refused", () => {
  test.for([
    "",
    "/",
    "*",
    "//secrets",
    "/secrets//",
    "/secrets//a",
    "/secrets/a//",
    "/vms/",
    "/vms/a/",
    "/secrets/../vms",
    "/secrets/%2e%2e/vms",
    "/secrets/..%2fvms",
    "/secrets/a%2fvalue",
    "/secrets/a%5cb",
    "/secrets/a%00",
    "/secrets/%2561",
    "/secrets/%",
    "/secrets/%ff",
    "/secrets/.a",
    "/secrets/-a",
    "/secrets/a b",
    "/secrets/a;b",
    "/secrets/é",
    `/secrets/${"a".repeat(101)}`,
    "/secrets#a",
    "http://localhost/secrets",
  ])("%s", (raw, { expect }) => {
    expect(() => readTarget(raw)).toThrow(/^the request's path /);
  });
});
