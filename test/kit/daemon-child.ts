// A session daemon in a process of its own: `node daemon-child.ts FOLDER`, ended by SIGTERM.
import { join } from "node:path";
import { Daemon } from "#daemon/daemon";

const [, , folder = ""] = process.argv;
const runtime = join(folder, "run");
const places = {
  state: join(folder, "state"),
  config: join(folder, "config", "config.yaml"),
  runtime,
  socket: join(runtime, "hatchway.sock"),
};
const daemon = await Daemon.start({
  mode: "session",
  places,
  echo: false,
  onFatal: (error) => daemon.log.report(error),
});
process.once("SIGTERM", () => void daemon.close());
process.stdout.write("serving\n");
