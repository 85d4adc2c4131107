import { describe, it } from "vitest";
import { parsePeerName, unitOfCgroup } from "#agent/asked";
import { parsePolicy, rulesOf } from "#agent/policy";
import { actionsFor } from "#agent/unit-watch";
import { dropIn } from "#agent/units";

const name = (text: string): Uint8Array => Buffer.from(text, "latin1");

describe("what a peer's name asks for", () => {
  it("is a unit's credential", ({ expect }) => {
    expect(parsePeerName(name("\0d2f60f82c27a0c0d/unit/web@a-b.service/tls.key"))).toEqual({
      unit: "web@a-b.service",
      credential: "tls.key",
    });
  });

  it("is nothing when it is not of systemd's form", ({ expect }) => {
    for (const text of [
      "",
      "/run/some.sock",
      "d2f60f82/unit/web.service/key",
      "\0D2F60F82/unit/web.service/key",
      "\0d2f60f82c27a0c0d0/unit/web.service/key",
      "\0d2f60f82/unit/web.service",
      "\0d2f60f82/unit/web.service/a/b",
      "\0d2f60f82/unit//key",
      "\0d2f60f82/unit/web.service/key\0",
      "\0d2f60f82/unit/web.service/k\ney",
      "\0d2f60f82/unit/web.service/kéy",
    ]) {
      expect(parsePeerName(name(text)), JSON.stringify(text)).toBeUndefined();
    }
  });
});

it("a process's unit is the first component below slices, and none that is made below a unit", ({ expect }) => {
  const units: [cgroup: string, unit: string | undefined][] = [
    ["0::/system.slice/db.service\n", "db.service"],
    ["0::/system.slice/system-web.slice/web@1.service/.control\n", "web@1.service"],
    ["0::/init.scope\n", "init.scope"],
    ["0::/system.slice/_cpu.service\n", "cpu.service"],
    ["0::/system.slice/evil.service/db.service\n", "evil.service"],
    ["0::/system.slice/evil.service/x.slice/db.service\n", "evil.service"],
    ["0::/user.slice/user-0.slice/user@0.service/app.slice/db.service\n", "user@0.service"],
    ["1:name=systemd:/system.slice/db.service\n0::/\n", "db.service"],
    ["2:cpu:/db.service\n0::/\n", undefined],
    ["0::/../db.service\n", ".."],
    ["", undefined],
  ];
  for (const [cgroup, unit] of units) expect(unitOfCgroup(cgroup), cgroup).toBe(unit);
});

describe("the policy", () => {
  const text = `# who has what
allow web.service tls.key password=db-password
allow web.service more
\tallow worker@.service token
allow worker@big.service big
on-change web.service reload

on-change worker@.service restart
`;

  it("gives each unit its credentials, an instance those of its template unless it has its own", ({ expect }) => {
    const policy = parsePolicy(text);
    const secrets = (unit: string): unknown => Object.fromEntries(rulesOf(policy, unit)?.secrets ?? []);
    expect(secrets("web.service")).toEqual({ "tls.key": "tls.key", password: "db-password", more: "more" });
    expect(secrets("worker@small.service")).toEqual({ token: "token" });
    expect(secrets("worker@big.service")).toEqual({ big: "big" });
    for (const unit of ["other.service", "web.socket", "web@x.service", "worker.service"])
      expect(secrets(unit)).toEqual({});
  });

  it("names the units of a changed secret, all instances of a template by a pattern", ({ expect }) => {
    const policy = parsePolicy(text);
    expect(actionsFor(policy, new Set(["db-password", "token"]))).toEqual([
      { unit: "web.service", action: "reload" },
      { unit: "worker@*.service", action: "restart" },
    ]);
    expect(actionsFor(policy, new Set(["big", "password"]))).toEqual([]);
  });

  it("is refused by line when it is not understood", ({ expect }) => {
    const cases: [policy: string, problem: string][] = [
      ["deny a.service x", 'line 1: "deny" is neither "allow" nor "on-change"'],
      ["\nallow a x", 'line 2: "a" should be a service, socket, mount or swap unit'],
      ["allow a.service", "line 1: no credential is named"],
      ["allow a.service a/b", 'line 1: "a/b" is no name of a credential'],
      ["allow a.service x=", 'line 1: "" '],
      ["allow a.service x x=y", 'line 1: "x" is there twice'],
      ["allow *.service x", 'line 1: "*.service" should be a service'],
      ["on-change a.service restart", "line 1: the unit should be allowed something before it"],
      ["allow a.service x\non-change a.service stop", 'line 2: it should say "reload" or "restart"'],
      ["allow a.service x\non-change a.service reload\non-change a.service reload", "line 3: the unit has such a line"],
      ["allow a.service x\r", "line 1: it should be printable ASCII"],
    ];
    for (const [policy, problem] of cases) expect(() => parsePolicy(policy), policy).toThrow(problem);
  });
});

it("a drop-in loads each credential, and says what its policy is", ({ expect }) => {
  const unit = "srv-data.mount";
  const place = { unit, socket: "/run/hatchway/credentials.sock", policy: "/etc/hatchway/credentials.policy" };
  expect(dropIn({ ...place, credentials: ["password=db-password", "key"] })).toBe(`; /etc/hatchway/credentials.policy:
;   allow srv-data.mount password=db-password key
;   on-change srv-data.mount restart
; /etc/systemd/system/srv-data.mount.d/hatchway.conf:
[Unit]
Wants=hatchway-agent-credentials.service
After=hatchway-agent-credentials.service

[Mount]
LoadCredential=password:/run/hatchway/credentials.sock
LoadCredential=key:/run/hatchway/credentials.sock
`);
});
