import type { Vault } from "#vault";

/** A vault whose every operation is one of the vault that `open` gives at that moment; what `open` throws is its answer. */
export function forwarded(open: () => Vault): Omit<Vault, "allow" | "newGeneration" | "watch" | "close"> {
  return {
    whoami: async (...asked) => open().whoami(...asked),
    can: async (...asked) => open().can(...asked),

    putSecret: async (...asked) => open().putSecret(...asked),
    removeSecret: async (...asked) => open().removeSecret(...asked),
    secret: async (...asked) => open().secret(...asked),
    secrets: async (...asked) => open().secrets(...asked),
    history: async (...asked) => open().history(...asked),
    rollbackSecret: async (...asked) => open().rollbackSecret(...asked),
    renameSecret: async (...asked) => open().renameSecret(...asked),
    holders: async (...asked) => open().holders(...asked),

    createVm: async (...asked) => open().createVm(...asked),
    removeVm: async (...asked) => open().removeVm(...asked),
    vm: async (...asked) => open().vm(...asked),
    vms: async (...asked) => open().vms(...asked),
    admit: async (...asked) => open().admit(...asked),
    attach: async (...asked) => open().attach(...asked),
    detach: async (...asked) => open().detach(...asked),
    unpin: async (...asked) => open().unpin(...asked),
    grants: async (...asked) => open().grants(...asked),

    export: async (...asked) => open().export(...asked),
    resolve: async (...asked) => open().resolve(...asked),
    convergence: async (...asked) => open().convergence(...asked),
    claim: async (...asked) => open().claim(...asked),
    mintToken: async (...asked) => open().mintToken(...asked),
    enrols: async (...asked) => open().enrols(...asked),
    enrolling: async (...asked) => open().enrolling(...asked),
    enrol: async (...asked) => open().enrol(...asked),
    proves: async (...asked) => open().proves(...asked),
    pushed: async (...asked) => open().pushed(...asked),
    receive: async (...asked) => open().receive(...asked),

    keys: {
      get openedBy() {
        return open().keys.openedBy;
      },
      status: async (...asked) => open().keys.status(...asked),
      addWay: async (...asked) => open().keys.addWay(...asked),
      removeWay: async (...asked) => open().keys.removeWay(...asked),
      rotate: async (...asked) => open().keys.rotate(...asked),
      rewrap: async (...asked) => open().keys.rewrap(...asked),
      rewrapProgress: async (...asked) => open().keys.rewrapProgress(...asked),
      retire: async (...asked) => open().keys.retire(...asked),
      mark: async (...asked) => open().keys.mark(...asked),
      missed: async (...asked) => open().keys.missed(...asked),
      backup: async (...asked) => open().keys.backup(...asked),
    },
    plain: {
      holds: async (...asked) => open().plain.holds(...asked),
      export: async (...asked) => open().plain.export(...asked),
      binding: async (...asked) => open().plain.binding(...asked),
      bind: async (...asked) => open().plain.bind(...asked),
    },
    trail: {
      tail: async (...asked) => open().trail.tail(...asked),
      select: async (...asked) => open().trail.select(...asked),
      verify: async (...asked) => open().trail.verify(...asked),
    },
    backups: {
      contents: async (...asked) => open().backups.contents(...asked),
      make: async (...asked) => open().backups.make(...asked),
      restore: async (...asked) => open().backups.restore(...asked),
    },
  };
}
