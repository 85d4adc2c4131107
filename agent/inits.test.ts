import { readFileSync } from "node:fs";
import { it } from "vitest";
import { initFile, INITS } from "#agent/inits";

const file = (path: string): string => readFileSync(new URL(`../guest/${path}`, import.meta.url), "utf8");

it("the texts are the files of guest/", ({ expect }) => {
  expect(initFile("systemd", undefined)).toBe(file("systemd/hatchway-agent.service"));
  expect(initFile("openrc", undefined)).toBe(file("openrc/hatchway-agent"));
  expect(initFile("plain", undefined)).toBe(file("plain/hatchway-agent"));
  const network = file("systemd/hatchway-agent-network.service");
  expect(initFile("systemd", "ssh:r@h")).toBe(network.replace("agent run", "agent run --from ssh:r@h"));
});

it("a source is in each, once, and one over a network waits for it", ({ expect }) => {
  for (const init of INITS) {
    for (const from of ["vsock:2:5107", "virtio-serial:org.hatchway.0", "ssh:web@[2001:db8::1]:22"]) {
      expect(initFile(init, from).split(`run --from ${from}`)).toHaveLength(2);
    }
  }
  expect(initFile("systemd", "ssh:r@h")).toContain("After=network-online.target");
  expect(initFile("openrc", "ssh:r@h")).toContain("  use net\n  after localmount ");
  expect(initFile("plain", "ssh:r@h")).toContain("# Required-Start:    $local_fs $network\n");
});

it("a source that a unit or a script could read otherwise is refused", ({ expect }) => {
  for (const from of ["unix:/a b", 'unix:/"', "dir:/$(id)", "file:/a\nb", "unix:/%n", "nonsense"]) {
    expect(() => initFile("systemd", from), from).toThrow(/should be|has characters/);
  }
});
