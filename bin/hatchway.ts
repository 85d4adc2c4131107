// The process: argv in, exit code out. Only here do the CLI and the daemon meet, and the daemon is loaded for `serve` only.
import type { Serve, ServeOptions } from "#cli/daemon-commands";
import { main } from "#cli/main";

interface DaemonModule {
  serve(options: ServeOptions): Promise<number>;
}

const serve: Serve = async (options) => {
  // oxlint-disable-next-line typescript/no-unnecessary-type-assertion -- the daemon has types of its own
  const daemon = (await import("#daemon/serve" as string)) as DaemonModule;
  return daemon.serve(options);
};

// A reader that went away (`| head`) wants no more, and is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

async function run(): Promise<void> {
  process.exitCode = await main(process.argv.slice(2), process, serve);
}

void run();
