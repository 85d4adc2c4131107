// The process that runs this one as a service, told how far it is: sd_notify(3), by which systemd is spoken to.
import { HatchwayError } from "#error";
import { Datagrams } from "#host/datagram";

/** The part of the time between two signs of life that may go by before the next one. */
const WATCHDOG_PART = 3;

export class Supervisor implements Disposable {
  readonly #datagrams: Datagrams;
  /** Milliseconds within which it wants a sign of life; undefined: none. */
  readonly #watchdog: number | undefined;
  #alive: NodeJS.Timeout | undefined;

  private constructor(datagrams: Datagrams, watchdog: number | undefined) {
    this.#datagrams = datagrams;
    this.#watchdog = watchdog;
  }

  /**
   * Who `env` says that it is; undefined where nobody wants to be told. Takes the variables away, since they are not meant
   * for the processes that this one starts. Throws HatchwayError "invalid" for a socket that cannot be one.
   */
  static take(env: NodeJS.ProcessEnv, pid: number = process.pid): Supervisor | undefined {
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: period, WATCHDOG_PID: watched } = env;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
    if (path === undefined || path === "") return undefined;
    const datagrams = Datagrams.to(path);
    if (!datagrams)
      throw new HatchwayError("invalid", `NOTIFY_SOCKET is "${path}", and should be the path of a socket`);
    const isWatched = period !== undefined && /^[1-9][0-9]{0,12}$/.test(period) && (watched ?? `${pid}`) === `${pid}`;
    return new Supervisor(datagrams, isWatched ? Number(period) / 1000 : undefined);
  }

  /** Service is given from now on, until `stopping`; `status` is one line for people. */
  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${status.replaceAll("\n", " ")}`);
    if (this.#watchdog === undefined) return;
    // It comes as long as the event loop goes round, which is what serving takes.
    this.#alive = setInterval(() => this.#tell("WATCHDOG=1"), this.#watchdog / WATCHDOG_PART);
    this.#alive.unref();
  }

  stopping(): void {
    this.#tell("STOPPING=1");
  }

  /** A supervisor that does not listen keeps nobody from his work. */
  #tell(words: string): void {
    this.#datagrams.send(Buffer.from(words));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#alive);
    this.#datagrams[Symbol.dispose]();
  }
}
