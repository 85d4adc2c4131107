import type { Caller } from "#caller";
import { Clock } from "#clock";
import type { KeyObject } from "node:crypto";
import { HatchwayError } from "#error";
import type { Mirror } from "#mirror";
import { privateDirectory } from "#host/files";
import type { Store } from "#store";
import { buildTree } from "#store/tree-build";
import { openTreeStore } from "#store/tree-store";
import type { Vault } from "#vault";
import { Audit, type AuditLine } from "#vault/audit";
import { checkBeside } from "#vault/audit-thread";
import type { Policy } from "#vault/authorise";
import { StoreBackups } from "#vault/backups";
import { Bundles } from "#vault/bundles";
import { Enrolments } from "#vault/enrolments";
import { Gate, type Head } from "#vault/gate";
import { Grants } from "#vault/grants";
import { createKeyring, openKeyring, type Keyring } from "#vault/keyring";
import { KeyOperations } from "#vault/keys";
import { Ledgers } from "#vault/ledgers";
import { Plain } from "#vault/plain";
import { Rewrap } from "#vault/rewrap";
import { operationOf } from "#vault/roles";
import { BLIND_ROWS, Rows } from "#vault/rows";
import { Secrets } from "#vault/secrets";
import { AuditTrail } from "#vault/trail";
import { type TrailHead, TrailHeads } from "#vault/trail-heads";
import { Vms } from "#vault/vms";
import type { WaySources } from "#vault/ways";

export interface VaultOptions {
  /** A read's line of the audit is synced before the value leaves; else it is written before, and synced soon after. */
  durableReads?: boolean;
  /** Called once when the disk under the audit trail failed, or the older part of it does not hold: end the process. */
  onFatal?: (error: HatchwayError) => void;
  /** What times that are written down are read from. */
  clock?: Clock;
  /** Told how far trail and store have come, once a second at most while they go on, and when the vault is closed. */
  onHead?: (head: TrailHead) => void;
  /** Stands between the vault and the store with its tree: for who wants to see each read and change of the vault. */
  around?: (store: Store) => Store;
  /** Keeps the newest versions as well, in plain. */
  mirror?: Mirror;
}

/** Where the vault's files are, and what opens its keys; the key file is made where there is no keyring yet. */
export interface VaultPlaces extends WaySources {
  /** Absolute path of the sealed keys. */
  keyring: string;
  /** Absolute path of the audit trail. */
  audit: string;
}

/**
 * Opens the vault over `store`, which it then owns. Throws "wrong-key", "corrupt", "forbidden" or "unavailable" before
 * anything could be served. `onFatal` is called when the vault should be closed since the audit trail cannot go on.
 */
export async function openVault(
  raw: Store,
  places: VaultPlaces,
  policy: Policy,
  {
    durableReads = false,
    onFatal = () => undefined,
    clock = new Clock(),
    mirror,
    onHead = () => undefined,
    around = (store) => store,
  }: VaultOptions = {},
): Promise<Vault> {
  await using opened = new AsyncDisposableStack();
  const keyring = opened.use(await keyringOf(raw, places));
  const tree = await openTreeStore(raw, keyring.treeKey.object, BLIND_ROWS);
  const head = await Gate.headOf(raw, new Rows(tree ?? raw, keyring));
  if (keyring.edition < (head?.keyring ?? 0)) {
    throw new HatchwayError("corrupt", `the keyring "${places.keyring}" is older than the store: it was put back`, {
      hint: "put back the newest keyring.json of this store, or make it again: hatchway key restore",
    });
  }
  const { audit, open, done, older } = await Audit.open(places.audit, keyring.auditKey, head, { clock });
  opened.defer(() => audit.close());
  audit.onSyncFailed(onFatal);
  const store = around(tree ?? (await firstTree(raw, keyring.treeKey.object, head, done)));
  await checkAge(store, done);
  const rows = new Rows(store, keyring);
  // What was under way when the last process ended: the store knows whether it happened.
  for (const { op, opId, caller, secret, vm, way } of open) {
    const outcome = (await store.committed(opId)) === undefined ? "not-done" : "ok";
    await audit.outcome({
      op,
      opId,
      caller,
      outcome,
      ...(secret && { secret }),
      ...(vm && { vm }),
      ...(way && { way }),
    });
  }
  const gate = new Gate(store, rows, audit, policy, durableReads);
  const ledgers = new Ledgers(gate, rows, await store.epoch());
  const enrolments = new Enrolments(gate, rows, ledgers, keyring.enrolKey);
  const bundles = new Bundles(gate, rows, ledgers);
  const secrets = new Secrets(gate, rows, bundles, mirror);
  const grants = new Grants(gate, rows, secrets, bundles);
  const vms = new Vms(gate, rows, grants, bundles, ledgers, policy);
  const unwatch = store.watch(await store.revision(), (event) => {
    if (event.kind === "reset" || gate.isUncertain) bundles.changedAll();
  });

  // From now on nobody may say that there never was a tree.
  if (head && head.tree !== true) await gate.settle();
  const rewrap = new Rewrap(store, rows, keyring, gate);
  await rewrap.resume();

  if (older) {
    const segments = await audit.segments();
    const stop = checkBeside({ path: places.audit, segments, key: keyring.auditKey, to: older }, (error) => {
      audit.condemn(error);
      onFatal(error);
    });
    opened.defer(stop);
  }
  const heads = new TrailHeads(audit, store, onHead);
  const whileOpen = opened.move();
  return {
    allow: (caller, what, vm) => gate.read(caller, what, vm === undefined ? {} : { vm }, async () => undefined),
    whoami: async (caller) => gate.scopes(caller),
    can: async (caller, verb, subject) => {
      const refused = gate.refusal(caller, operationOf(verb, subject), subject);
      return refused ? { allowed: false, reason: refused.message } : { allowed: true };
    },

    putSecret: (caller, name, how, change) => secrets.put(caller, name, how, change),
    removeSecret: (caller, name) => secrets.remove(caller, name),
    secret: (caller, name) => secrets.get(caller, name),
    secrets: (caller) => secrets.all(caller),
    history: (caller, name) => secrets.history(caller, name),
    rollbackSecret: async (caller, name, to) => (await secrets.rollback(caller, name, to)).secret,
    renameSecret: (caller, from, to) => secrets.rename(caller, from, to),
    holders: (caller, name) => secrets.holders(caller, name),

    createVm: (caller, request) => vms.create(caller, request),
    removeVm: (caller, name) => vms.remove(caller, name),
    vm: (caller, name) => vms.get(caller, name),
    vms: (caller) => vms.all(caller),
    admit: (caller, what, name) => vms.admit(caller, what, name),
    attach: (caller, vm, requests) => grants.attach(caller, vm, requests),
    detach: (caller, vm, secret) => grants.detach(caller, vm, secret),
    unpin: (caller, vm, secret) => grants.unpin(caller, vm, secret),
    grants: async (caller, vm) => grants.of(caller, await vms.get(caller, vm)),

    resolve: (caller, vmId) => {
      if (caller.kind === "vm") ledgers.contact(vmId);
      return bundles.resolve(caller, vmId);
    },
    export: async (caller, name) => bundles.export(caller, (await vms.get(caller, name)).id),
    convergence: async (caller, vmId) =>
      gate.read(caller, "vm.read", await bundles.subject(caller, vmId), async () => {
        await bundles.resolve(caller, vmId);
        return ledgers.convergence(vmId);
      }),
    newGeneration: async (caller, vmId) => {
      // A guest that does nothing but reboot writes nothing.
      if (await gate.read(caller, "vm.boot", { vmId }, () => ledgers.isUntouched(vmId))) return;
      await gate.mutate(caller, "vm.boot", { vmId }, async (commit) => {
        await ledgers.newGeneration(vmId);
        bundles.changed([vmId]);
        await commit({});
        return { result: undefined };
      });
    },
    claim: async (caller, key) => {
      const { vmId } = guest(caller);
      ledgers.contact(vmId);
      // No alarm: an agent whose firmware's driver is loaded late asks so, and nobody gets anything by it.
      if (await ledgers.enrols(vmId)) throw new HatchwayError("unauthenticated", "this vm's guest has to enrol");
      const before = await ledgers.claimant(vmId, key);
      if (before === "same") return;
      if (before === "another") {
        if (await ledgers.alarm(vmId, "second claim")) await gate.alarm(caller, "vm.claim", { vmId });
        throw new HatchwayError("exists", "another process has claimed this vm's api");
      }
      await gate.mutate(caller, "vm.claim", { vmId }, async (commit) => {
        if (!(await ledgers.claim(vmId, key))) {
          throw new HatchwayError("exists", "another process has claimed this vm's api");
        }
        await commit({});
        return { result: undefined };
      });
    },
    mintToken: (caller, name, reboots) => enrolments.mint(caller, name, reboots),
    enrols: (caller) => ledgers.enrols(guest(caller).vmId),
    enrolling: async (caller) => {
      const { vmId } = guest(caller);
      ledgers.contact(vmId);
      return enrolments.generation(vmId);
    },
    enrol: async (caller, request) => {
      const asking = guest(caller);
      ledgers.contact(asking.vmId);
      return enrolments.enrol(asking, request);
    },
    proves: async (caller, key) => {
      const { vmId } = guest(caller);
      const claimant = await ledgers.claimant(vmId, key);
      if (claimant === "another" && (await ledgers.alarm(vmId, "wrong claim key"))) {
        await gate.alarm(caller, "vm.claim", { vmId });
      }
      return claimant === "same";
    },
    pushed: async (caller, name, revision, mount) => {
      const { id: vmId } = await vms.get(caller, name);
      await gate.mutate(caller, "vm.push", { vm: name, vmId }, async (commit) => {
        await ledgers.pushed(vmId, revision, mount);
        bundles.changed([vmId]);
        await commit({});
        return { result: undefined };
      });
    },
    receive: async (caller, revision, receipt) => {
      const { vmId } = guest(caller);
      return gate.read(caller, "vm.receipt", { vmId }, async () => {
        ledgers.contact(vmId);
        await ledgers.receive(vmId, revision, receipt);
      });
    },

    keys: new KeyOperations(gate, keyring, rewrap),
    trail: new AuditTrail(gate, rows, audit, keyring.auditKey),
    backups: new StoreBackups(store, rows, gate),
    plain: new Plain(gate, rows, secrets),

    watch: (listener) => bundles.watch(listener),
    close: async () => {
      unwatch();
      whileOpen.defer(() => store.close());
      try {
        await rewrap.stop();
        await gate.over();
        await gate.settle();
        await heads.close();
      } finally {
        await whileOpen.disposeAsync();
      }
    },
  };
}

/**
 * Builds the tree over the rows of a store that never had one. That it never had one, the head and the trail must bear out:
 * both say it of every store that has, so that taking the tree away makes no other.
 */
async function firstTree(
  raw: Store,
  key: KeyObject,
  head: Head | undefined,
  done: readonly AuditLine[],
): Promise<Store> {
  const hint = "put back the newest copy of the store, or a backup";
  if (head?.tree === true || done.some(({ revision }) => revision !== undefined)) {
    throw new HatchwayError("corrupt", "the store lacks the tree over its rows", { hint });
  }
  for (const { seq, opId } of done) {
    if ((await raw.committed(opId)) === undefined) throw tooOld(seq);
  }
  await buildTree(raw, key, BLIND_ROWS);
  const tree = await openTreeStore(raw, key, BLIND_ROWS);
  if (!tree)
    throw new HatchwayError("corrupt", "the tree over the store's rows is gone as soon as it was built", { hint });
  return tree;
}

/** Throws "corrupt" unless the store has reached all that the trail says was done. */
async function checkAge(store: Store, done: readonly AuditLine[]): Promise<void> {
  const reached = await store.revision();
  for (const { seq, revision } of done) if (revision !== undefined && revision > reached) throw tooOld(seq);
}

function tooOld(seq: number): HatchwayError {
  return new HatchwayError("corrupt", `the store is older than the audit trail: it lacks the change of line ${seq}`, {
    hint: "put back the newer store",
  });
}

function guest(caller: Caller): Caller & { kind: "vm" } {
  if (caller.kind !== "vm") throw new HatchwayError("forbidden", "only a guest claims and confirms");
  return caller;
}

/** The keys of `store`; made where there are none and it is empty. Throws as `openVault` does. */
export async function keyringOf(store: Store, places: VaultPlaces): Promise<Keyring> {
  const { keyring, keyFile } = places;
  const there = await openKeyring(keyring, places);
  if (there) return there;
  if ((await store.revision()) > 0) {
    throw new HatchwayError("corrupt", `there is no keyring "${keyring}", and the store is not empty`, {
      hint: "put back the keyring that the store was made with",
    });
  }
  for (const path of [keyring, keyFile]) await privateDirectory(path.slice(0, path.lastIndexOf("/")));
  return createKeyring(keyring, places);
}
