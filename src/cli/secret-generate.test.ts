import { test } from "vitest";
import { runCli } from "#test/kit/run-cli";
import { scriptDaemon, type Asked } from "#test/kit/scripted-daemon";

function stored({ path, body }: Asked): readonly [number, unknown] {
  return [201, { name: path.split("/")[2], size: body.length, version: 1 }];
}

const kinds = [
  [["--password"], ["key"]],
  [["--bytes", "48"], ["key"]],
  [["--ssh-key"], ["key", "key.pub"]],
  [
    ["--tls", "a.test"],
    ["key.key", "key.crt"],
  ],
] as const;

test("what is made is sent and not shown", async ({ expect }) => {
  for (const [flags, names] of kinds) {
    const routes = Object.fromEntries(names.map((name) => [`PUT /secrets/${name}/value`, stored]));
    await using daemon = await scriptDaemon({ "GET /secrets": [200, []], ...routes });
    for (const json of [[], ["--json"]]) {
      daemon.asked.length = 0;
      const ran = await runCli(["-c", daemon.uri, "secret", "generate", "key", ...flags, ...json]);
      expect(ran).toMatchObject({ code: 0, stderr: "" });
      const puts = daemon.asked.filter(({ method }) => method === "PUT");
      expect(puts.map(({ path }) => path.split("/")[2])).toEqual(names);
      const value = puts[0]?.body.toString("latin1") ?? "";
      expect(value.length).toBeGreaterThan(30);
      for (const line of value.split("\n")) if (line.length > 30) expect(ran.stdout).not.toContain(line);
    }
  }
});

test("a half that is there already keeps both from being stored", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /secrets": [200, [{ name: "key.pub" }]] });
  const ran = await runCli(["-c", daemon.uri, "secret", "generate", "key", "--ssh-key"]);
  expect(ran.code).toBe(4);
  expect(ran.stderr).toContain('secret "key.pub" exists already');
  expect(daemon.asked.map(({ method }) => method)).toEqual(["GET"]);
});
