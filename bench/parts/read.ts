// Others read a value that they keep: to be seen beside the part "guest".
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchDaemon, claimed } from "#bench/daemon";
import { etcdGet, etcdPut, startEtcd } from "#bench/etcd";
import { Libvirt } from "#bench/libvirt";
import type { Contest, Contestant, Figures, Part, Scale } from "#bench/measure";
import { compile, find, load, NOT_INSTALLED, rateOf, timed } from "#bench/programs";

const VALUE = "a password of 32 bytes, or so ...";
const OURS = "guest read, 1 connection";

export const read: Part = {
  name: "read",
  about: `a value of ${VALUE.length} bytes is read from others that keep secrets`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const program = compile("load", folder);
    const daemon = opened.use(await BenchDaemon.open());
    await daemon.secret("db", VALUE);
    await daemon.vm("a", ["db"]);
    const requests = Math.max(100, Math.round(5_000 * size));
    const contestants: Contestant[] = [
      {
        what: OURS,
        turn: async () =>
          rateOf(
            await load(program, {
              to: [daemon.guest("a")],
              connections: 1,
              requests,
              input: claimed("GET /v1/secrets/db"),
            }),
          ),
        against: ["etcd get", "libvirt get", "systemd-creds decrypt, a command", "age decrypt, a command"],
      },
    ];

    const etcd = await startEtcd(folder);
    if (etcd) {
      opened.use(etcd);
      const to = [etcd.port];
      await load(program, { to, connections: 1, requests: 1, input: etcdPut(VALUE).replace("########", "AAAAAAAA") });
      const input = etcdGet(Buffer.from("AAAAAAAA", "base64").toString("latin1"));
      contestants.push({
        what: "etcd get",
        turn: async () => rateOf(await load(program, { to, connections: 1, requests, input })),
      });
    } else {
      contestants.push({ what: "etcd get", missing: NOT_INSTALLED });
    }

    const libvirt = Libvirt.open(folder);
    contestants.push({
      what: "libvirt get",
      ...(libvirt ? { turn: async () => perSecond(libvirt.get(500)) } : { missing: NOT_INSTALLED }),
    });
    contestants.push(systemdCreds(folder), age(folder));
    const whileOpen = opened.move();
    return { contestants, [Symbol.asyncDispose]: () => whileOpen.disposeAsync() };
  },
};

function systemdCreds(folder: string): Contestant {
  const what = "systemd-creds decrypt, a command";
  const program = find("systemd-creds");
  if (program === undefined) return { what, missing: NOT_INSTALLED };
  const sealed = join(folder, "cred");
  execFileSync(program, ["encrypt", "--name=db", "-", sealed], { input: VALUE, stdio: ["pipe", "ignore", "ignore"] });
  return { what, turn: async () => perSecond(timed([program, "decrypt", "--name=db", sealed, "-"])) };
}

function age(folder: string): Contestant {
  const what = "age decrypt, a command";
  const program = find("age");
  const keygen = find("age-keygen");
  if (program === undefined || keygen === undefined) return { what, missing: NOT_INSTALLED };
  const key = join(folder, "age.key");
  const sealed = join(folder, "age.sealed");
  execFileSync(keygen, ["-o", key], { stdio: "ignore" });
  const recipient = /age1[a-z0-9]+/.exec(readFileSync(key, "utf8"))?.[0] ?? "";
  writeFileSync(sealed, execFileSync(program, ["-r", recipient], { input: VALUE }));
  return { what, turn: async () => perSecond(timed([program, "-d", "-i", key, sealed])) };
}

function perSecond(ms: number): Figures {
  return { "per second": 1000 / ms, "p50 ms": ms };
}
