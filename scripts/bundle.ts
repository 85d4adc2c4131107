// Bundles what ships: one file each for the CLI, the daemon, the threads of store and audit, and the client, in dist/.
// CommonJS, since an ESM bundle takes 20 to 30 ms longer to start, but for the client, which programs import. koffi stays
// a package, since it is native code.
import { build, type BuildOptions, type Plugin } from "esbuild";
import { rename } from "node:fs/promises";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");

/** Keeps the daemon and the vault out of the CLI and the client: they load the bundles beside them. */
const daemonIsBeside: Plugin = {
  name: "daemon-is-beside",
  setup(plugin) {
    plugin.onResolve({ filter: /^#daemon\/serve$/ }, () => ({ path: "./daemon.cjs", external: true }));
    plugin.onResolve({ filter: /^#daemon\/offline$/ }, () => ({ path: "./offline.cjs", external: true }));
    plugin.onResolve({ filter: /^#daemon\/embedded$/ }, () => ({ path: "./embedded.cjs", external: true }));
  },
};

/** Commander loads it for commands that are programs of their own; we have none, and it takes 2 ms. */
const noChildProcess: Plugin = {
  name: "no-child-process",
  setup(plugin) {
    plugin.onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      /node_modules.commander/.test(importer) ? { path: "child_process", namespace: "absent" } : undefined,
    );
    plugin.onLoad({ filter: /.*/, namespace: "absent" }, () => ({ contents: "module.exports = {};" }));
  },
};

const options: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node24",
  format: "cjs",
  // Names stay, so that a stack trace can be read.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "inline",
  external: ["koffi"],
  define: { "import.meta.filename": "__filename", "import.meta.dirname": "__dirname" },
  logLevel: "warning",
};

interface Bundle {
  from: string;
  to: string;
  plugins?: Plugin[];
  options?: BuildOptions;
}

const bundles: readonly Bundle[] = [
  { from: "bin/hatchway.ts", to: "dist/hatchway.cjs", plugins: [daemonIsBeside, noChildProcess] },
  { from: "src/daemon/serve.ts", to: "dist/daemon.cjs" },
  { from: "src/daemon/offline.ts", to: "dist/offline.cjs" },
  { from: "src/daemon/embedded.ts", to: "dist/embedded.cjs" },
  { from: "src/store/sqlite-worker.ts", to: "dist/sqlite-worker.cjs" },
  { from: "src/vault/audit-worker.ts", to: "dist/audit-worker.cjs" },
  {
    from: "src/client/public.ts",
    to: "dist/client.mjs",
    plugins: [daemonIsBeside],
    options: { format: "esm", target: "node20", define: {} },
  },
];

/** Renamed into place, so that a command that runs meanwhile sees the old bundle or the new one. */
async function write({ from, to, plugins = [], options: own = {} }: Bundle): Promise<void> {
  const draft = `${to}.${process.pid}`;
  await build({ ...options, ...own, entryPoints: [from], outfile: draft, plugins });
  await rename(resolve(root, draft), resolve(root, to));
}

await Promise.all(bundles.map((bundle) => write(bundle)));
