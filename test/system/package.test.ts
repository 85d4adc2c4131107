// The package as another project has it: packed, unpacked into that project's node_modules, and imported by the
// Node that it runs with, which may be older than the one that comes with this package.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, test } from "vitest";
import { startSessionDaemon } from "#test/kit/session-daemon";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");

let project: string;

beforeAll(async () => {
  project = mkdtempSync("/tmp/hw.");
  const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", project], { cwd: root });
  const installed = join(project, "node_modules/hatchway");
  mkdirSync(installed, { recursive: true });
  // As npm unpacks it, less the dependencies, which the client does without.
  await run("tar", ["-xzf", join(project, stdout.trim()), "-C", installed, "--strip-components=1"]);
  writeFileSync(join(project, "package.json"), '{"name": "project", "type": "module"}');
});
afterAll(() => rmSync(project, { recursive: true }));

/** The machine's own Node, without the one of this package before it. */
function ownPath(): string {
  const folders = process.env["PATH"]?.split(delimiter) ?? [];
  return folders.filter((folder) => !folder.includes("node_modules")).join(delimiter);
}

const PROGRAM = `
import { connect, HatchwayError, type Client, type SecretBody } from "hatchway/client";

const hatchway: Client = connect(process.env["TEST_URI"]);
const put = await hatchway.putSecret("db", "create", Buffer.from("value"), { permissions: "0440" });
const secrets: SecretBody[] = await hatchway.secrets();
await hatchway.createVm({ name: "web-1", secrets: ["db"] });
const { convergence } = await hatchway.vm("web-1");
let code = "";
try {
  await hatchway.secret("missing");
} catch (error) {
  if (error instanceof HatchwayError) code = error.code;
}
console.log(JSON.stringify([put.created, secrets.map(({ name }) => name), convergence.in_sync, code]));
`;

describe("hatchway/client", () => {
  test("is typed, so that a program against it compiles as it stands and not when it is wrong", async ({ expect }) => {
    mkdirSync(join(project, "node_modules/@types"), { recursive: true });
    for (const name of ["@types/node", "undici-types"]) {
      symlinkSync(realpathSync(join(root, "node_modules", name)), join(project, "node_modules", name));
    }
    const flags = ["--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"];
    const compile = (file: string): Promise<unknown> =>
      run(join(root, "node_modules/.bin/tsc"), [...flags, join(project, file)], { cwd: project });
    writeFileSync(join(project, "program.ts"), PROGRAM);
    await compile("program.ts");
    writeFileSync(join(project, "wrong.ts"), PROGRAM.replace('"create"', '"make"'));
    await expect(compile("wrong.ts")).rejects.toMatchObject({ stdout: expect.stringContaining("TS2345") as string });
  });

  test("works in a plain project over a socket", async ({ expect }) => {
    await using daemon = await startSessionDaemon();
    const env = { ...daemon.env, PATH: ownPath() };
    const { stdout } = await run("node", [join(project, "program.js")], { cwd: project, env });
    expect(JSON.parse(stdout)).toEqual([true, ["db"], false, "not-found"]);
  });
});
