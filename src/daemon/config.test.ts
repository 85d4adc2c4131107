import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { parseConfig, readConfig } from "#daemon/config";
import { HatchwayError } from "#error";

test.for([
  ["", "defaults"],
  ["# nothing\n", "defaults"],
  ["---\n", "defaults"],
  ["attach: defaults\n", "defaults"],
  ["attach: all\n", "all"],
  ['"attach": "all"', "all"],
] as const)("%j attaches %s", ([text, attach], { expect }) => {
  expect(parseConfig("c.yaml", text)).toMatchObject({ attach });
});

test.for([
  ["", "written"],
  ["audit: durable", "durable"],
] as const)("%j has its reads %s first", ([text, audit], { expect }) => {
  expect(parseConfig("c.yaml", text)).toMatchObject({ audit });
});

test.for([
  ["audit: sync", 'line 1: audit is "written" or "durable"'],
  ["store: etcd", 'line 1: store is "sqlite" or "directory"'],
  ["secrets-folder: /s/.secrets", "line 1: secrets-folder is for store: directory"],
  ["store: directory\nsecrets-folder: .secrets", 'line 2: secrets-folder ".secrets" is not an absolute path'],
  ["attach: ALL", 'line 1: attach is "defaults" or "all"'],
  ["attach: true", 'line 1: attach is "defaults" or "all"'],
  ["attach: [all]", 'line 1: attach is "defaults" or "all"'],
  ["attach:", 'line 1: attach is "defaults" or "all"'],
  [
    "# one\n\natach: all",
    'line 3: unknown key "atach"; known: store, secrets-folder, attach, audit, hostgroups, listen, guest-listen, tokens, roles',
  ],
  ["attach: all\nattach: defaults", "line 2: duplicate key"],
  ["- attach", "line 1: not a mapping of keys to values"],
  ["attach", "line 1: not a mapping of keys to values"],
  ["attach: all\n  - x: {", "line 1: "],
  ["? [a]\n: all", 'line 1: unknown key "?"'],
  ["hostgroups: {vm: {cpus: 0}}", "line 1: hostgroups.vm.cpus is not an integer from 1 to 255"],
  ["hostgroups:\n  vm:\n    kernel: vmlinuz", 'line 3: hostgroups.vm.kernel "vmlinuz" is not an absolute path'],
  ["hostgroups:\n  vm:\n    runners: [ok, No]", 'line 3: hostgroups.vm.runners.2 "No" is not a user name'],
  ["hostgroups:\n  -vm: {}", "line 2: hostgroups.-vm is not a name"],
  ["roles: [{role: king, uid: 1}]", 'line 1: roles.1.role is "admin" or "operator"'],
  ["roles: [{uid: 1}]", "line 1: roles.1 has no role"],
  ["roles:\n  - {role: admin}", "line 2: roles.1 is of one uid, gid, token or certificate"],
  ["roles:\n  - {role: admin, uid: 1, gid: 1}", "line 2: roles.1 is of one uid, gid, token or certificate"],
  ["roles: [{role: admin, token: ci}]", 'line 1: roles.1.token "ci" is not among the tokens'],
  ["roles: [{role: admin, uid: 1, vms: 'a b'}]", 'line 1: roles.1.vms "a b" is not a pattern'],
  ["roles: [{role: admin, user: ada}]", 'line 1: unknown key "user"'],
  ["guest-listen: 127.0.0.1:5107", "line 1: guest-listen is not a list"],
  ["guest-listen: [5107]", "line 1: guest-listen.1 is not a mapping"],
  ["guest-listen: ['example.org:5107']", "line 1: guest-listen.1 is not an address and a port"],
  [
    "guest-listen: [{address: '0.0.0.0:1', clients: ca.crt}]",
    'line 1: guest-listen.1.clients "ca.crt" is not an absolute path',
  ],
  ["hostgroups: [vm]", "line 1: hostgroups is not a mapping"],
  ["__proto__: all", 'line 1: unknown key "__proto__"'],
] as const)("%j is refused with its line", ([text, problem], { expect }) => {
  let thrown: unknown;
  try {
    parseConfig("c.yaml", text);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(HatchwayError);
  expect(thrown).toMatchObject({ code: "invalid", message: expect.stringContaining(`"c.yaml", ${problem}`) as string });
});

test("an unknown key comes with the one that was likely meant", ({ expect }) => {
  for (const [text, hint] of [
    ["atach: all", "did you mean attach"],
    ["hostgroups: {vm: {memory: 64}}", "did you mean memory_mib"],
    ["store: x", undefined],
  ] as const) {
    expect(() => parseConfig("c.yaml", text), text).toThrow(expect.objectContaining({ hint }));
  }
});

test("a file that is not there means the defaults; one that cannot be read is refused", async ({ expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-config-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  expect(await readConfig(join(folder, "config.yaml"))).toEqual(parseConfig("", ""));
  await expect(readConfig(folder)).rejects.toMatchObject({ code: "unavailable" });
  await writeFile(join(folder, "config.yaml"), "attach: all\n");
  expect(await readConfig(join(folder, "config.yaml"))).toMatchObject({ attach: "all" });
});

test("a host group says how its VMs are launched and by whom they are run", ({ expect }) => {
  const text =
    "hostgroups:\n  big: {memory_mib: 1024, cpus: 4, kernel: /boot/k, runners: [runner-1, 1002]}\n  small: {}\n";
  expect(parseConfig("c.yaml", text).hostGroups).toEqual([
    { name: "big", launch: { memoryMiB: 1024, cpus: 4, kernel: "/boot/k" }, runners: ["runner-1", 1002] },
    { name: "small", launch: { memoryMiB: 256, cpus: 1 }, runners: [] },
  ]);
  expect(parseConfig("c.yaml", "").hostGroups.map(({ name }) => name)).toEqual(["vm"]);
});

test("a role names who has it, and is over everything where it says no pattern", ({ expect }) => {
  const text =
    "tokens: {ci: /t}\nroles:\n- {role: operator, token: ci, vms: ci-*}\n- {role: admin, certificate: ada}\n";
  expect(parseConfig("c.yaml", text).roles).toEqual([
    { role: "operator", holder: { kind: "token", id: "ci" }, secrets: "*", vms: "ci-*" },
    { role: "admin", holder: { kind: "certificate", name: "ada" }, secrets: "*", vms: "*" },
  ]);
  expect(parseConfig("c.yaml", "").roles).toBeUndefined();
  expect(parseConfig("c.yaml", "roles: []").roles).toEqual([]);
});

test("guests are listened for with what pki has beside the file, or with other files and no list of ours", ({
  expect,
}) => {
  const text = 'guest-listen: ["0.0.0.0:5107", {address: "[::]:1", certificate: /c.pem, clients: /ca.crt}]';
  const [own, other] = parseConfig("/etc/hatchway/config.yaml", text).guestListen;
  expect(own).toEqual({
    host: "0.0.0.0",
    port: 5107,
    tls: {
      certificate: "/etc/hatchway/pki/server/guests.pem",
      clients: "/etc/hatchway/pki/ca.crt",
      revoked: "/etc/hatchway/pki/crl.pem",
    },
  });
  expect(other).toEqual({ host: "::", port: 1, tls: { certificate: "/c.pem", clients: "/ca.crt" } });
});
