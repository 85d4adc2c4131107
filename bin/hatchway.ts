// The process: argv in, exit code out. Only here do the CLI and the daemon meet, and the daemon is loaded for `serve` only.
import type { Serve } from "#cli/daemon-commands";
import { main } from "#cli/main";
import type { LoadOffline } from "#cli/offline";

const serve: Serve = async (options) => {
  const daemon = await import("#daemon/serve");
  return daemon.serve(options);
};

const offline: LoadOffline = () => import("#daemon/offline");

// A reader that went away (`| head`) wants no more, and is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

async function run(): Promise<void> {
  process.exitCode = await main(process.argv.slice(2), process, serve, offline);
}

void run();
