import { dirname, join } from "node:path";
import type { GuestListener } from "#daemon/guest-listener";
import { HatchwayError } from "#error";
import { Mutex } from "#mutex";
import { Authority } from "#pki/authority";
import type { Vm } from "#vm";
import { USER_NETWORK } from "#vmm/network";

/**
 * What machines show that come to us by TLS: made anew for each of their boots by the authority beside `config.yaml`, and
 * given to them in memory. Nothing of their keys is on a disk.
 */
export class GuestIdentities {
  readonly #folder: string;
  readonly #oneByOne = new Mutex();
  #listeners: readonly GuestListener[] = [];

  /** `config`: the path of config.yaml. */
  constructor(config: string) {
    this.#folder = join(dirname(config), "pki");
  }

  /** Where machines may come to, from now on. */
  served(listeners: readonly GuestListener[]): void {
    this.#listeners = listeners;
  }

  /** Whether anything listens for guests. */
  get areServed(): boolean {
    return this.#listeners.length > 0;
  }

  /** The file for a guest of QEMU's user network (agent/identity.ts); the caller wipes it. Throws HatchwayError. */
  async issue({ id, name }: Pick<Vm, "id" | "name">): Promise<Buffer> {
    return this.#oneByOne.run("", async () => {
      const { host } = USER_NETWORK;
      const near = this.#listeners.filter(({ reachesLoopback }) => reachesLoopback);
      if (near.length === 0) {
        throw new HatchwayError("conflict", `vm "${name}" would find nobody: no guests are served on the loopback`, {
          hint: 'in config.yaml: guest-listen: ["127.0.0.1:5107"], then start the daemon again',
        });
      }
      const named = near.find((listener) => listener.isFor(host));
      if (!named) {
        throw new HatchwayError(
          "conflict",
          `the certificate on ${near[0]?.address} is not for ${host}, as guests call it`,
          {
            hint: `hatchway pki revoke server/guests && hatchway pki server guests --name ${host}`,
          },
        );
      }
      await using authority = await Authority.open(this.#folder);
      if (!named.trusts(authority.certificate)) {
        throw new HatchwayError(
          "conflict",
          `guests on ${named.address} are known by another authority than "${this.#folder}"`,
          {
            hint: "leave out clients of guest-listen",
          },
        );
      }
      return authority.issueUnwritten({ kind: "guest", name, vmId: id, host: `${host}:${named.port}` });
    });
  }
}
