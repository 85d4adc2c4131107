import { it } from "vitest";
import { parseUsage } from "#agent/usage";

it("commands and flags", ({ expect }) => {
  const sshKeys = "/etc/hatchway/ssh";
  const place = { root: "/run/hatchway", mount: true, sshKeys };
  expect(parseUsage(["sync"])).toEqual({ kind: "sync", ...place });
  expect(parseUsage(["secrets", "sync", "--from", "unix:/x", "--no-mount"])).toEqual({
    kind: "sync",
    root: "/run/hatchway",
    mount: false,
    sshKeys,
    from: "unix:/x",
  });
  expect(parseUsage(["run", "--root=/srv/x"])).toEqual({ kind: "run", root: "/srv/x", mount: true, sshKeys });
  expect(parseUsage(["exec", "--root", "/r", "--", "cmd", "--flag"])).toEqual({
    kind: "exec",
    first: 4,
    root: "/r",
    mount: true,
    sshKeys,
  });
  expect(parseUsage(["exec", "cmd", "--", "x"])).toEqual({ kind: "exec", first: 1, ...place });
  expect(parseUsage(["run", "--ssh-keys=/k"])).toEqual({ kind: "run", ...place, sshKeys: "/k" });
  expect(parseUsage(["status", "--json"])).toEqual({ kind: "status", root: "/run/hatchway", json: true });
  expect(parseUsage(["doctor"])).toEqual({ kind: "doctor", root: "/run/hatchway", json: false });
  expect(parseUsage(["credentials", "--policy=/p"])).toEqual({
    kind: "credentials",
    root: "/run/hatchway",
    socket: "/run/hatchway/credentials.sock",
    policy: "/p",
  });
  expect(parseUsage(["units", "--unit", "a.service", "--credential", "x", "--credential=y=z"])).toMatchObject({
    unit: "a.service",
    credentials: ["x", "y=z"],
  });
  for (const verb of ["sync", "run", "exec", "credentials", "units", "status", "doctor", "version"]) {
    expect(parseUsage([verb, "--help"])).toMatchObject({
      kind: "help",
      text: expect.stringContaining("usage: hatchway-agent"),
    });
  }
});

it("what is not known is refused by its name", ({ expect }) => {
  const cases: [string[], string][] = [
    [["fetch"], 'unknown command "fetch"'],
    [["secrets", "run"], 'unknown command "secrets run"'],
    [["sync", "--json"], 'unknown flag "--json"'],
    [["status", "--json=1"], 'flag "--json" takes no value'],
    [["sync", "--from"], 'flag "--from" needs a value'],
    [["sync", "--root", "/"], '--root "/" should be an absolute path'],
    [["sync", "--root", "/run/../etc"], "should be an absolute path"],
    [["units", "--credential", "x"], "units needs --unit UNIT"],
    [["units", "--unit", "a", "--credential", "x"], '"a" should be a service'],
    [["units", "--unit", "a.service"], "units needs --credential"],
    [["units", "--unit", "a.service", "--credential", "x/y"], '--credential: "x/y"'],
    [["version", "now"], 'unexpected argument "now"'],
  ];
  for (const [args, problem] of cases) expect(() => parseUsage(args)).toThrow(problem);
});
