import type { Caller } from "#caller";
import { HatchwayError } from "#error";

/** What can be asked of the vault; also the audit's words. */
export type Operation =
  | "admin.enter"
  | "secret.create"
  | "secret.update"
  | "secret.set"
  | "secret.remove"
  | "secret.read"
  | "secret.list"
  | "vm.create"
  | "vm.remove"
  | "vm.read"
  | "vm.list"
  | "vm.boot"
  | "vm.start"
  | "vm.stop"
  | "grant.attach"
  | "grant.detach"
  | "grant.list"
  | "bundle.resolve"
  | "secret.disclose"
  | "vm.claim"
  | "vm.receipt";

/** Who may administrate: one user and root, or whoever can open the socket, which the kernel decides by its mode. */
export type Policy = { mode: "session"; uid: number } | { mode: "system" };

const guestOperations = new Set<Operation>(["bundle.resolve", "secret.disclose", "vm.receipt"]);
const runnerOperations = new Set<Operation>(["vm.read", "grant.list", "bundle.resolve", "secret.disclose"]);

/** Throws unless `caller` may do `operation`; `vmId` is the VM that it concerns, if it is one VM. */
export function authorise(policy: Policy, caller: Caller, operation: Operation, vmId?: string): void {
  switch (caller.kind) {
    case "embedded":
      return;
    case "token":
    case "certificate":
      return;
    case "stranger":
      throw new HatchwayError("unauthenticated", "the request has no right token or certificate", {
        hint: "send the token as: Authorization: Bearer TOKEN",
      });
    case "unix":
      if (policy.mode === "system" || caller.uid === policy.uid || caller.uid === 0) return;
      throw new HatchwayError("forbidden", `uid ${caller.uid} may not administrate the secrets of uid ${policy.uid}`);
    case "runner":
      if (runnerOperations.has(operation) && vmId === caller.vmId) return;
      throw new HatchwayError("forbidden", "the runner of a vm may only see what is that vm's");
    case "vm":
      if (vmId !== caller.vmId) break;
      if (operation === "vm.claim") return;
      if (!guestOperations.has(operation)) break;
      if (caller.proven) return;
      throw new HatchwayError("unauthenticated", "claim first: this process has not shown that it may fetch");
  }
  throw new HatchwayError("forbidden", "not for a guest");
}
