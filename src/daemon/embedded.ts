// The store in the process of whoever uses it, without a daemon: what src/client/embedded.ts loads.
//
//   ROOT/etc/secrets/   store, keyring, key file, audit trail, config.yaml, log     (0700)
//   ROOT/run/secrets/   driver.pid, the admin API's socket, those of the VMs        (0700)
//
// as the embedded drivers of libvirt have it (https://libvirt.org/drvsecret.html). ROOT is the application's: it is made
// where it is missing, and never removed.
import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Daemon } from "#daemon/daemon";
import { HatchwayError } from "#error";
import { ownUid, privateDirectory } from "#host/files";
import { PidFile } from "#host/pid-file";
import type { Places } from "#places";
import { checkSocketPath } from "#socket-path";

export interface Embedded {
  /** The admin API, which only this user and root can reach. */
  socket: string;
  close(): Promise<void>;
}

/** Throws HatchwayError; "locked", with its pid, while another process has that root. */
export async function openEmbedded(root: string): Promise<Embedded> {
  const places = placesUnder(root);
  checkSocketPath(places.socket, "choose a shorter root");
  await mkdir(root, { recursive: true, mode: 0o700 });
  await refuseOthers(root);
  for (const name of ["etc", "run"]) {
    await mkdir(join(root, name), { recursive: true, mode: 0o700 });
    await refuseOthers(join(root, name));
  }
  await privateDirectory(places.runtime);
  await using opened = new AsyncDisposableStack();
  opened.use(await PidFile.take(join(places.runtime, "driver.pid"), `the root "${root}"`));
  // Whatever is asked of it from then on is answered with what failed.
  const onFatal = (error: HatchwayError): void => daemon?.log.report(error);
  let daemon: Daemon | undefined;
  daemon = await Daemon.start({ mode: "session", isEmbedded: true, places, echo: false, onFatal });
  opened.defer(() => daemon?.close());
  const whileOpen = opened.move();
  return { socket: places.socket, close: () => whileOpen.disposeAsync() };
}

function placesUnder(root: string): Places {
  const state = join(root, "etc/secrets");
  const runtime = join(root, "run/secrets");
  return { state, config: join(state, "config.yaml"), runtime, socket: join(runtime, "hatchway.sock") };
}

/** Throws "forbidden" where somebody else could put another folder in the place of one of ours. */
async function refuseOthers(path: string): Promise<void> {
  const stat = await lstat(path);
  const { uid, mode } = stat;
  if (!stat.isDirectory()) throw new HatchwayError("invalid", `"${path}" is not a directory`);
  if (uid !== ownUid() && uid !== 0) {
    throw new HatchwayError("forbidden", `"${path}" belongs to uid ${uid}, not to uid ${ownUid()}`);
  }
  if ((mode & 0o022) === 0) return;
  throw new HatchwayError(
    "forbidden",
    `"${path}" can be written to by others: its mode is 0${(mode & 0o777).toString(8)}`,
    {
      hint: `chmod go-w ${path}`,
    },
  );
}
