import type { Command } from "commander";
import { examples, group, leaf, type Action, type Run } from "./command.ts";
import type { HookFlags } from "./libvirt-hook.ts";

export function addLibvirtCommands(run: Run, program: Command): void {
  const hook = group(
    program,
    "libvirt-hook",
    "print, install, run",
    "What libvirt runs when a domain starts, so that the VM of that name is known to be its process at once.",
  );
  if (!run.words.includes("libvirt-hook")) return;
  leaf(run, hook, "print", "print the hook", (command) => command, lazy("printHook"));
  leaf(run, hook, "install", "put it where libvirt runs it", defineInstall, lazy("installHook"));
  leaf(
    run,
    hook,
    "run [words...]",
    "what the hook does; libvirt gives the words",
    (command) => command,
    lazy("runHook"),
  );
}

function defineInstall(command: Command): Command {
  return command
    .option("--folder <folder>", "another than /etc/libvirt/hooks/qemu.d")
    .description(
      "Put the hook where libvirt runs it, for VMs that were made with --external under their domain's name. A domain " +
        "that was adopted is found without it.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway vm create web-1 --external --runner libvirt-qemu --secret db-password",
        "hatchway vm args web-1 --vmm libvirt",
        "hatchway -c secret:///system libvirt-hook install",
      ),
    );
}

/** Loaded when it is needed, since libvirt waits for it. */
function lazy(name: "printHook" | "installHook" | "runHook"): Action<HookFlags> {
  return async (...all) => (await import("./libvirt-hook.ts"))[name](...all);
}
