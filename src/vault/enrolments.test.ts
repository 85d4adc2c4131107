import { describe, test, vi } from "vitest";
import type { EnrolRequest, ReceiptClaim } from "#vault";
import { Enrolling } from "#test/kit/enrolling";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

const applied: ReceiptClaim = { outcome: "applied", refused: [], mount: "tmpfs", agent: "0.1.0" };
const host = { kind: "embedded", uid: 0, purpose: "test" } as const;
const flip = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte, at) => (at === 5 ? byte ^ 4 : byte)));
const scalar = (byte: number): Buffer => Buffer.alloc(32, byte);

class Enrolled {
  readonly made: TestVault;
  readonly id: string;
  line: Buffer;

  private constructor(made: TestVault, id: string, line: Buffer) {
    this.made = made;
    this.id = id;
    this.line = line;
  }

  static async open(reboots = 0, store: "memory" | "sqlite" = "memory"): Promise<Enrolled> {
    const made = await TestVault.open({ store });
    await made.set("db", "1");
    const { id } = await made.vm("web", "db");
    return new Enrolled(made, id, await made.vault.mintToken(host, "web", reboots));
  }

  get caller(): { kind: "vm"; vmId: string; channel: string; proven: boolean } {
    return { kind: "vm", vmId: this.id, channel: "vsock", proven: false };
  }

  async side(byte: number): Promise<Enrolling> {
    return new Enrolling(this.line, scalar(byte), await this.made.vault.enrolling(this.caller));
  }

  async enrol(byte: number): Promise<Buffer | undefined> {
    const side = await this.side(byte);
    return side.open(await this.made.vault.enrol(this.caller, side.request));
  }

  /** What comes of it: "done", or the error's code. */
  async try(byte: number): Promise<string> {
    return refusal(this.enrol(byte));
  }

  async receive(): Promise<void> {
    const bundle = await this.made.vault.resolve(guest(this.id), this.id);
    await bundle.disclose(bundle.changedSince(undefined));
    await this.made.vault.receive(guest(this.id), bundle.manifest.revision, applied);
  }

  async state(): Promise<{ enrolment: unknown; alarms: string[] }> {
    const { enrolment, alarms } = await this.made.vault.convergence(admin, this.id);
    return { enrolment, alarms: alarms.map(({ what, count }) => `${what} ${count}`) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.made[Symbol.asyncDispose]();
  }
}

describe("enrolment", () => {
  test("gives the claim to who has the token, sealed to his key, and again until his receipt", async ({ expect }) => {
    await using vm = await Enrolled.open();
    expect((await vm.state()).enrolment).toEqual({ state: "waiting", reboots: 0 });
    const claim = await vm.enrol(1);
    expect(claim).toHaveLength(32);
    expect((await vm.enrol(1))?.equals(claim ?? Buffer.alloc(0))).toBe(true);
    expect(await vm.made.vault.proves(vm.caller, claim ?? Buffer.alloc(0))).toBe(true);
    expect(await vm.made.vault.proves(vm.caller, Buffer.alloc(32))).toBe(false);
    await vm.receive();
    expect(await vm.try(1)).toBe("exists");
    expect(await vm.made.vault.proves(vm.caller, claim ?? Buffer.alloc(0))).toBe(true);
    expect((await vm.state()).enrolment).toEqual({ state: "enrolled", reboots: 0 });
  });

  test("with another key is refused with an alarm, whoever knows the token", async ({ expect }) => {
    await using vm = await Enrolled.open();
    await vm.enrol(1);
    expect(await vm.try(2)).toBe("exists");
    expect((await vm.state()).alarms).toEqual(["second enrolment 1"]);
    const lines = (await vm.made.audit()).filter(({ op }) => op === "vm.enrol");
    expect(lines.map(({ outcome }) => outcome).filter(Boolean)).toEqual(["ok", "alarm"]);
  });

  test("is one key's, though many ask at one time", async ({ expect }) => {
    await using vm = await Enrolled.open();
    const sides = await Promise.all(Array.from({ length: 8 }, (_, at) => vm.side(at + 1)));
    const outcomes = await Promise.all(sides.map(({ request }) => refusal(vm.made.vault.enrol(vm.caller, request))));
    expect(outcomes.filter((outcome) => outcome === "done")).toHaveLength(1);
  });

  test("needs a MAC over all of it by this VM's token", async ({ expect }) => {
    await using vm = await Enrolled.open();
    const { request } = await vm.side(1);
    const changed: EnrolRequest[] = [
      { ...request, guest: flip(request.guest) },
      { ...request, nonce: flip(request.nonce) },
      { ...request, mac: flip(request.mac) },
      new Enrolling(vm.line, scalar(1), 2).request,
    ];
    for (const each of changed) expect(await refusal(vm.made.vault.enrol(vm.caller, each))).toBe("unauthenticated");
    const other = await vm.made.vm("other", "db");
    await vm.made.vault.mintToken(host, "other", 0);
    expect(await refusal(vm.made.vault.enrol({ ...vm.caller, vmId: other.id }, request))).toBe("unauthenticated");
    expect((await vm.state()).alarms).toEqual(["wrong enrolment 1"]);
    expect(await vm.try(1)).toBe("done");
  });

  test("is refused after a reboot, but for as many as the token is for", async ({ expect }) => {
    await using vm = await Enrolled.open(1);
    const first = await vm.enrol(1);
    await vm.receive();
    await vm.made.vault.newGeneration(host, vm.id);
    expect((await vm.state()).enrolment).toEqual({ state: "waiting", reboots: 0 });
    expect(await vm.made.vault.proves(vm.caller, first ?? Buffer.alloc(0))).toBe(false);
    const second = await vm.enrol(2);
    expect(second?.equals(first ?? Buffer.alloc(0))).toBe(false);
    await vm.made.vault.newGeneration(host, vm.id);
    expect((await vm.state()).enrolment).toEqual({ state: "spent", reboots: 0 });
    expect(await vm.try(2)).toBe("exists");
    expect(await vm.try(3)).toBe("exists");
    expect((await vm.state()).alarms).toEqual(["second enrolment 1"]);
  });

  test("by an earlier token than the newest is refused; a boot that used none costs none", async ({ expect }) => {
    await using vm = await Enrolled.open();
    await vm.made.vault.newGeneration(host, vm.id);
    await vm.made.vault.newGeneration(host, vm.id);
    const old = vm.line;
    vm.line = await vm.made.vault.mintToken(admin, "web", 0);
    const stale = new Enrolling(old, scalar(1), await vm.made.vault.enrolling(vm.caller));
    expect(await refusal(vm.made.vault.enrol(vm.caller, stale.request))).toBe("unauthenticated");
    expect(await vm.try(1)).toBe("done");
  });

  test("leaves no way around it, and is asked of no other VM", async ({ expect }) => {
    await using vm = await Enrolled.open();
    expect(await vm.made.vault.enrols(vm.caller)).toBe(true);
    expect(await refusal(vm.made.vault.claim(vm.caller, scalar(9)))).toBe("unauthenticated");
    expect((await vm.state()).alarms).toEqual([]);
    const { id } = await vm.made.vm("other", "db");
    const other = { ...vm.caller, vmId: id };
    expect(await vm.made.vault.enrols(other)).toBe(false);
    expect(await refusal(vm.made.vault.enrolling(other))).toBe("not-found");
    expect(await refusal(vm.made.vault.enrol(other, (await vm.side(1)).request))).toBe("not-found");
    expect(await refusal(vm.made.vault.mintToken(admin, "web", -1))).toBe("invalid");
    expect(await refusal(vm.made.vault.mintToken(admin, "none", 0))).toBe("not-found");
    expect(await refusal(vm.made.vault.mintToken(vm.caller, "web", 0))).toBe("forbidden");
  });

  test("outlives a restart of the host's side", async ({ expect }) => {
    await using vm = await Enrolled.open(0, "sqlite");
    const claim = await vm.enrol(1);
    await vm.made.stop();
    await vm.made.start();
    expect((await vm.enrol(1))?.equals(claim ?? Buffer.alloc(0))).toBe(true);
    expect(await vm.try(2)).toBe("exists");
  });

  test("raises an alarm a second at most", async ({ expect }) => {
    await using vm = await Enrolled.open();
    await vm.enrol(1);
    const now = vi.spyOn(performance, "now");
    now.mockReturnValue(10_000);
    for (let count = 0; count < 3; count++) await vm.try(2);
    now.mockReturnValue(11_001);
    await vm.try(2);
    now.mockRestore();
    expect((await vm.state()).alarms).toEqual(["second enrolment 2"]);
  });
});
