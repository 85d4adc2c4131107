// The agent under Node: `node agent/platform/node-main.ts ARGUMENT...`, for tests. The agent blocks, so it has a worker to
// itself, and this thread is free to take signals for it.
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { main } from "#agent/cli";
import { nodeSys, openPipe, postSignal, type Signals } from "#agent/platform/node";
import { ASKED_TO_STOP, ASKED_TO_SYNC } from "#agent/sys";

const CAUGHT = [
  ["SIGTERM", ASKED_TO_STOP],
  ["SIGINT", ASKED_TO_STOP],
  ["SIGHUP", ASKED_TO_SYNC],
] as const;

if (isMainThread) {
  const [wake, wakeEnd] = openPipe();
  const signals: Signals = { state: new Int32Array(new SharedArrayBuffer(8)), wake };
  for (const [name, bit] of CAUGHT) {
    const take = (): void => {
      if (postSignal(signals, wakeEnd, bit)) return;
      process.off(name, take);
      process.kill(process.pid, name);
    };
    process.on(name, take);
  }
  const worker = new Worker(new URL(import.meta.url), { workerData: { signals, args: process.argv.slice(2) } });
  worker.on("error", (error) => {
    process.stderr.write(`error: the agent broke: ${error.stack ?? error.message}\n`);
    process.exit(70);
  });
  worker.on("exit", (code) => process.exit(code));
} else {
  const { signals, args } = workerData as { signals: Signals; args: string[] };
  const sys = nodeSys(args, signals);
  sys.exit(main(sys));
}
