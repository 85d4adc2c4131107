// The disk does not answer: every fdatasync(2) and fsync(2) of the daemon hangs for five seconds, while a secret is
// created. How long other clients wait for what needs no disk says how long the event loop stood still.
import { GuestConnection } from "#test/kit/guest-connection";
import { inject } from "#test/kit/strace";
import { BenchDaemon, KEY } from "#bench/daemon";
import type { Contest, Figures, Part } from "#bench/measure";
import { find, NOT_INSTALLED } from "#bench/programs";

const HANG_SECONDS = 5;
const CALM = "guest reads, disk as it is";

export const stall: Part = {
  name: "stall",
  about: `the disk hangs for ${HANG_SECONDS} s in fdatasync and fsync, by strace, which slows every call down as well`,
  async open(): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const daemon = opened.use(await BenchDaemon.open());
    await daemon.secret("db", "a value");
    await daemon.vm("a", ["db"]);
    // The claim is a change: it is made while the disk answers.
    const client = await GuestConnection.open(daemon.guest("a"));
    opened.defer(() => client.close());
    await client.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
    let turns = 0;

    const hanging = async (): Promise<Figures> => {
      turns += 1;
      const stop = await inject(daemon.pid, `fdatasync,fsync:delay_enter=${HANG_SECONDS * 1_000_000}`);
      // It fails, in time: what matters here is who else waits for it.
      const creating = Promise.allSettled([daemon.secret(`s${turns}`, "a value")]);
      const figures = await asked(client, HANG_SECONDS);
      await creating;
      await stop();
      return figures;
    };
    const whileOpen = opened.move();
    return {
      contestants: [
        { what: CALM, turn: () => asked(client, 1) },
        {
          what: "guest asks, disk hangs",
          ...(find("strace") === undefined ? { missing: NOT_INSTALLED } : { turn: hanging }),
          against: [CALM],
          bars: { "max ms": 20 },
        },
      ],
      [Symbol.asyncDispose]: () => whileOpen.disposeAsync(),
    };
  },
};

/** The longest that a guest waited for its value, asking for it again and again. */
async function asked(client: GuestConnection, seconds: number): Promise<Figures> {
  const until = performance.now() + seconds * 1000;
  let longest = 0;
  while (performance.now() < until) {
    const begun = performance.now();
    const answer = await client.ask("GET /v1/secrets/db", { authorization: `Hatchway ${KEY}` });
    if (answer?.status !== 200) throw new Error(`a guest's read was answered ${answer?.status}`);
    longest = Math.max(longest, performance.now() - begun);
  }
  return { "max ms": longest };
}
