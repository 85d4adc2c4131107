// What `secret generate` makes, as the programs that it is for read it.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { test } from "vitest";
import { generateCertificate } from "#keygen/certificate";
import { generateSshKey } from "#keygen/openssh";

test("ssh-keygen reads a private key and finds the public one in it", ({ expect }) => {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-keygen-"));
  try {
    for (const comment of ["a", "deploy on web-1", "x".repeat(9)]) {
      const { privateKey, publicKey } = generateSshKey(comment);
      const path = join(folder, "key");
      writeFileSync(path, privateKey, { mode: 0o600 });
      expect(execFileSync("ssh-keygen", ["-y", "-f", path]).toString()).toBe(`${publicKey}\n`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a TLS client that trusts a certificate accepts its server", async ({ expect }) => {
  const { key, certificate } = generateCertificate("db.internal", 1);
  const server = createServer({ key, cert: certificate }, (socket) => socket.end("hello"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", servername: "db.internal", ca: certificate });
  await once(client, "secureConnect");
  expect([client.authorized, client.authorizationError]).toEqual([true, null]);
  client.destroy();
  server.close();
});
