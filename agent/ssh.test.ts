import { it } from "vitest";
import { parseSource } from "#agent/source";
import { sshArguments, type SshSource } from "#agent/ssh";

const wordsOf = (source: string): string[] => sshArguments(parseSource(source) as SshSource, "/k");

it("the client takes nothing from the guest's own configuration, and only a key and hosts of ours", ({ expect }) => {
  const words = wordsOf("ssh:web-1@host.example:2222");
  expect(words.slice(0, 5)).toEqual(["-F", "none", "-T", "-i", "/k/key"]);
  for (const option of [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=yes",
    "UserKnownHostsFile=/k/known_hosts",
    "ClearAllForwardings=yes",
  ]) {
    expect(words[words.indexOf(option) - 1]).toBe("-o");
  }
  expect(words.slice(-6)).toEqual(["-p", "2222", "-l", "web-1", "--", "host.example"]);
});

it("an address of IPv6 is without its brackets", ({ expect }) => {
  expect(wordsOf("ssh:r@[2001:db8::1]").slice(-5)).toEqual(["22", "-l", "r", "--", "2001:db8::1"]);
});
