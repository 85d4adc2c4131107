// A secret is created, durably: the disk alone, the admin API, and others.
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchDaemon } from "#bench/daemon";
import { etcdPut, startEtcd } from "#bench/etcd";
import { Libvirt } from "#bench/libvirt";
import { median, type Contest, type Contestant, type Figures, type Part, type Scale } from "#bench/measure";
import { compile, find, load, NOT_INSTALLED, rateOf, request, timed } from "#bench/programs";

const VALUE = "a password of 32 bytes, or so ...";
const FLOOR = "append + fdatasync";

export const create: Part = {
  name: "create",
  about: `a secret of ${VALUE.length} bytes is created and on the disk`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const program = compile("load", folder);
    const daemon = opened.use(await BenchDaemon.open());
    const etcd = await startEtcd(folder);
    if (etcd) opened.use(etcd);
    const libvirt = Libvirt.open(folder);
    const count = (number: number): number => Math.max(16, Math.round(number * size));

    let turns = 0;
    const ours = (connections: number, requests: number) => async (): Promise<Figures> => {
      turns += 1;
      const body = JSON.stringify({ name: `s${turns}-########`, data: Buffer.from(VALUE).toString("base64") });
      const input = request("POST /secrets", { "content-type": "application/json" }, body);
      return rateOf(await load(program, { to: [daemon.admin], connections, requests: count(requests), input }));
    };
    const etcds = (connections: number, requests: number): Pick<Contestant, "turn" | "missing"> => {
      if (!etcd) return { missing: NOT_INSTALLED };
      const input = etcdPut(VALUE);
      const turn = async (): Promise<Figures> =>
        rateOf(await load(program, { to: [etcd.port], connections, requests: count(requests), input }));
      return { turn };
    };
    const contestants: Contestant[] = [
      { what: FLOOR, turn: async () => floor(join(folder, "floor"), count(500)) },
      {
        what: "create, 1 client",
        turn: ours(1, 500),
        against: [FLOOR, "etcd put, 1 client", "libvirt define + set"],
        bars: { "p50 ms": 1 },
      },
      { what: "etcd put, 1 client", ...etcds(1, 500) },
      {
        what: "libvirt define + set",
        ...(libvirt ? { turn: async () => perSecond(libvirt.create(count(100))) } : { missing: NOT_INSTALLED }),
      },
      {
        what: "create, 16 clients",
        turn: ours(16, 4_000),
        against: ["etcd put, 16 clients"],
        bars: { "per second": 2_000 },
      },
      { what: "etcd put, 16 clients", ...etcds(16, 4_000) },
      command("systemd-creds encrypt, a command", "systemd-creds", ["encrypt", "--name=db", "-", join(folder, "cred")]),
    ];
    const whileOpen = opened.move();
    return { contestants, [Symbol.asyncDispose]: () => whileOpen.disposeAsync() };
  },
};

function floor(path: string, count: number): Figures {
  const file = openSync(path, "a", 0o600);
  const line = Buffer.alloc(512, "x");
  const times = Array.from({ length: count }, () => {
    const begun = performance.now();
    writeSync(file, line);
    fdatasyncSync(file);
    return performance.now() - begun;
  });
  closeSync(file);
  const sum = times.reduce((all, one) => all + one, 0);
  return { "per second": (count / sum) * 1000, "p50 ms": median(times) };
}

function perSecond(ms: number): Figures {
  return { "per second": 1000 / ms, "p50 ms": ms };
}

function command(what: string, name: string, argv: readonly string[]): Contestant {
  const program = find(name);
  if (program === undefined) return { what, missing: NOT_INSTALLED };
  return { what, turn: async () => perSecond(timed([program, ...argv], process.env, VALUE)) };
}
