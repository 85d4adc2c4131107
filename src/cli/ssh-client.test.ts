import { test } from "vitest";
import { sshWords } from "#cli/ssh-client";

test("the guest is the last word, and nothing that the user says is an option in its place", ({ expect }) => {
  expect(sshWords({ ssh: "root@192.0.2.7", identity: "-x", port: "2222", sshConfig: "/c" }).slice(-9)).toEqual(
    ["-F", "/c", "-i", "-x", "-o", "IdentitiesOnly=yes", "-p", "2222", "--", "root@192.0.2.7"].slice(1),
  );
  for (const ssh of ["web", "a.b_c-d", "admin@web", "2001:db8::1", "root@fe80::1"]) {
    expect(sshWords({ ssh }).slice(-2)).toEqual(["--", ssh]);
  }
});

test("what ssh could take for something else is refused", ({ expect }) => {
  for (const ssh of ["-oProxyCommand=id", "root@-x", "-l@h", "a b", "h;id", "", "a@b@c", "h\n", "ssh://h"]) {
    expect(() => sshWords({ ssh }), ssh).toThrow("should be USER@GUEST");
  }
  for (const port of ["0", "65536", "22x", "-1"]) expect(() => sshWords({ ssh: "h", port }), port).toThrow("--port");
});

test("nothing of the user's is forwarded to a guest, which is not trusted", ({ expect }) => {
  const words = sshWords({ ssh: "h" });
  for (const option of ["ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no"]) expect(words).toContain(option);
});
