import type { Vm } from "#vm";
import type { MachineExit } from "#vmm";

/** Told of what the host sees of a VM's process. */
export interface Witness {
  /** The guest boots: what an earlier boot claimed or applied is void. */
  booted(vm: Vm): Promise<void>;
  ended(vm: Vm, exit: MachineExit): void;
  report(error: unknown): void;
}

/** Tells the witness of boots, of many that come while it is being told as of one: a guest may do nothing else. */
export class Boots {
  readonly #witness: Witness;
  /** By a VM's id: it is being told, and whether there was another meanwhile. */
  readonly #telling = new Map<string, "being told" | "again">();

  constructor(witness: Witness) {
    this.#witness = witness;
  }

  /** Never rejects. */
  async seen(vm: Vm): Promise<void> {
    const told = this.#telling.get(vm.id);
    this.#telling.set(vm.id, told === undefined ? "being told" : "again");
    if (told !== undefined) return;
    try {
      do {
        this.#telling.set(vm.id, "being told");
        await this.#witness.booted(vm);
      } while (this.#telling.get(vm.id) === "again");
    } catch (error) {
      this.#witness.report(error);
    } finally {
      this.#telling.delete(vm.id);
    }
  }
}
