import type { Command } from "commander";
import { VMMS, WIRED } from "#wiring";
import { examples, group, leaf, type Action, type Run } from "./command.ts";
import { vmLogs } from "./logs.ts";
import { deliveryFlags, secretFlags } from "./secret-commands.ts";
import { attachSecrets, detachSecrets, unpinSecrets } from "./vm-grants.ts";
import { vmArgs } from "./vm-args.ts";
import type { ExecFlags } from "./vm-exec.ts";
import { explainVm } from "./vm-explain.ts";
import { adoptVm } from "./vm-adopt.ts";
import { enrolVm } from "./vm-enrol.ts";
import { createVm, launchVm, removeVms, startVm, stopVm } from "./vm-launch.ts";
import { listVms, showVm, vmStatus } from "./vm-show.ts";

export function addVmCommands(run: Run, program: Command): void {
  const vm = group(
    program,
    "vm",
    "launch, create, adopt, exec, start, stop, remove, attach, detach, unpin, list, show, status, logs, shell, explain, " +
      "enrol, args, ssh-key",
    "VMs: those that Hatchway starts, the secrets attached to each, and how far each of them is.",
  );
  if (!run.words.includes("vm")) return;
  vm.commandsGroup("Running:");
  leaf(run, vm, "launch <name>", "create a VM and start it", defineLaunch, launchVm);
  leaf(run, vm, "create <name>", "create a VM without starting it", defineCreate, createVm);
  leaf(run, vm, "adopt <name>", "take in a VM that runs already", defineAdopt, adoptVm);
  leaf(run, vm, "exec <name> <command...>", "run a QEMU of your own with its secrets added", defineExec, lazyExec);
  leaf(run, vm, "start <name>", "start a VM that does not run", launchWait, startVm);
  leaf(run, vm, "stop <name>", "power a VM down", defineStop, stopVm);
  leaf(run, vm, "remove <name...>", "end VMs and forget them", (command) => command.alias("rm"), removeVms);
  vm.commandsGroup("Secrets:");
  leaf(
    run,
    vm,
    "attach <vm> <secret...>",
    "attach secrets, or change how they are delivered",
    defineAttach,
    attachSecrets,
  );
  leaf(run, vm, "detach <vm> <secret...>", "take secrets back from a VM", (command) => command, detachSecrets);
  leaf(run, vm, "unpin <vm> <secret...>", "give a VM new versions again", (command) => command, unpinSecrets);
  vm.commandsGroup("Ways into it:");
  leaf(run, vm, "explain <name>", "show every way into a VM, and what speaks against it", defineExplain, explainVm);
  leaf(
    run,
    vm,
    "enrol <name>",
    "make a token that the guest of a VM you start yourself enrols with",
    defineEnrol,
    enrolVm,
  );
  leaf(run, vm, "args <name>", "print what a VMM that you start yourself is to be told", defineArgs, vmArgs);
  leaf(
    run,
    vm,
    "ssh-key <name> <public-key>",
    "print the line by which sshd lets a VM's key have its secrets",
    defineSshKey,
    lazySshKey,
  );
  vm.commandsGroup("Looking:");
  leaf(run, vm, "list", "list VMs", (command) => command.alias("ls"), listVms);
  leaf(run, vm, "show <name>", "show all about a VM", (command) => command, showVm);
  leaf(run, vm, "status [name]", "show which revision of its secrets a VM has", defineStatus, vmStatus);
  leaf(run, vm, "logs <name>", "show a VM's console", logFlags, vmLogs);
  leaf(run, vm, "shell <name> <command...>", "run a command as root in the minimal guest", defineShell, lazyShell);
}

function wiringFlags(command: Command): Command {
  return command
    .option("--vmm <name>", `${VMMS.join(", ")} (qemu, of the version that is installed; qemu=7.2 says another)`)
    .option("--guest <kind>", "what takes the secrets from the firmware: systemd, systemd=257, or other, the agent")
    .option("--memory <MiB>", "the guest's memory (256)")
    .option("--allow-reserved", "also names that systemd itself acts on, as root");
}

function defineExplain(command: Command): Command {
  return wiringFlags(command)
    .description(
      "Show every way into a VM for what it has now: whether it fits, how much of it there is, what is lost, " +
        "who could read the secrets, and the one that is chosen if nothing is said.",
    )
    .addHelpText(
      "after",
      examples("hatchway vm explain web-1", "hatchway vm explain web-1 --vmm libvirt --guest systemd=252"),
    );
}

function defineArgs(command: Command): Command {
  return wiringFlags(command)
    .option("--channel <way>", `${WIRED.join(", ")} (the first of them that the VMM has)`)
    .option(
      "--file <path>",
      "what fw-cfg, smbios, disk or tcp bring; for fw-cfg and systemd a folder, the tar unpacked",
    )
    .option("--form <name>", "of VMMs with more than one language: arguments, api, config, …")
    .description(
      "Print what a VMM that you start yourself is to be told, ready to paste, of a VM made with --external. " +
        "It names sockets and files and holds no value. What else is to be known is on stderr.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway vm args web-1 --vmm firecracker >vsock.json",
        "hatchway vm args web-1 --vmm libvirt --channel virtio-serial",
        "hatchway vm args web-1 --channel disk --file /dev/shm/web-1.erofs",
      ),
    );
}

const lazySshKey: Action<object> = async (session, operands) =>
  (await import("./ssh-key.ts")).printSshKey(session, operands);

function defineSshKey(command: Command): Command {
  return command
    .description(
      "Print a line for the authorized_keys of the VM's runner: whoever has that key gets this VM's secrets from " +
        "sshd, live, and can do nothing else: no shell, no forwarding. The key pair is made in the guest.",
    )
    .addHelpText("after", examples("hatchway vm ssh-key web-1 web-1.pub >>~web-1/.ssh/authorized_keys"));
}

function defineExec(command: Command): Command {
  return wiringFlags(command)
    .option("--channel <way>", `${WIRED.join(", ")} (the first of them that the VMM has)`)
    .option("--enrol [way]", "its guest enrols, with a token in its firmware: fw-cfg (if nothing is said) or smbios")
    .option("--reboots <number>", "for how many boots within this start the token is good, besides the first (0)")
    .description(
      "Run a QEMU of your own, of a VM made with --external, with the arguments of vm args behind its own. What fw-cfg, " +
        "smbios and disk bring is in memory that it inherits, in no file. It runs as the VM's runner, and is watched as " +
        "the VM's process. The exit code is the command's.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway vm exec web-1 -- qemu-system-x86_64 -m 512 -drive file=web-1.qcow2",
        "hatchway vm exec web-1 --enrol --reboots 3 -- qemu-system-x86_64 -m 512 …",
        "hatchway -c embed:///srv/vms vm exec web-1 --channel fw-cfg -- qemu-system-x86_64 -m 512 …",
      ),
    );
}

/** Loads native code, which no other command needs. */
const lazyExec: Action<ExecFlags> = async (...all) => (await import("./vm-exec.ts")).execVm(...all);

function defineEnrol(command: Command): Command {
  return command
    .requiredOption("--out <file>", "where to; made 0600, and never over another file; /dev/fd/N for an open one")
    .option("--by <way>", "which part of the firmware it is for: fw-cfg (if nothing is said) or smbios")
    .option("--reboots <number>", "for how many boots it is good, besides the next (0)")
    .description(
      "From now on this VM's guest has to enrol: its agent shows, over the live channel, that it has the token which " +
        "the VM's firmware was given. The first to use it in a boot burns it, and another raises an alarm. A token that was " +
        "made before is void.",
    )
    .addHelpText("after", examples("hatchway vm enrol web-1 --out /run/web-1.token --reboots 3"));
}

/** Loads node:crypto, which no other command needs. */
const lazyShell: Action<{ timeout?: string }> = async (...all) => (await import("./vm-shell.ts")).shellVm(...all);

function machineFlags(command: Command): Command {
  return secretFlags(command)
    .optionsGroup("The machine (the project's minimal guest, if nothing is said):")
    .option("--runner <user>", "the host user that runs it, by name or uid (you)")
    .option("--kernel <path>", "a kernel to boot")
    .option("--initrd <path>", "its initrd")
    .option("--disk <path>", "a disk image")
    .option("--memory <MiB>", "its memory")
    .option("--cpus <number>", "its processors")
    .option("--append <words>", "more for the kernel's command line")
    .option(
      "--channel <way>",
      "how its secrets come: virtio-serial (the default), or tcp, which gives it a network too",
    )
    .optionsGroup("Enrolment (its firmware has a token at each start, which the first to use it burns):")
    .option("--enrol [way]", "give out secrets only to who has that token: by fw-cfg (if nothing is said) or smbios")
    .option("--reboots <number>", "for how many boots within one start a token is good, besides the first (0)")
    .optionsGroup("Secrets from its boot on, as they are at each start (for a guest without a live channel):")
    .option(
      "--secrets-disk <format>",
      "on a read-only disk in memory: erofs, squashfs, iso, or sealed, whose key is in fw_cfg (64 MiB)",
    )
    .option("--firmware <way>", "in its firmware: fw-cfg (1 MiB), or smbios (64 KiB)")
    .option("--credentials", "a credential for each secret, which systemd takes; else all as one, for the agent")
    .option("--allow-reserved", "also names that systemd itself acts on, as root")
    .optionsGroup("Secrets in a folder of the host, which follows every change (the guest mounts it):")
    .option("--share <way>", "by 9p or virtiofs, under the tag hatchway; sealed, with its key in the firmware")
    .option("--plain", "as files that the guest reads without an agent, with modes and owners");
}

function launchWait(command: Command): Command {
  return command
    .optionsGroup("Waiting:")
    .option("--wait", "wait until its agent has the secrets in place (also --wait=agent)")
    .option("--timeout <duration>", "how long to wait (30s)");
}

function defineLaunch(command: Command): Command {
  return launchWait(machineFlags(command))
    .description("Create a VM and start it. If it does not come up within --wait's time, it is removed again.")
    .addHelpText(
      "after",
      examples(
        "hatchway vm launch web-1 --secret db-password --wait",
        "hatchway vm launch web-1 --secret prod-db:DB_PASSWORD --secrets tls.crt,tls.key",
      ),
    );
}

function defineCreate(command: Command): Command {
  return machineFlags(
    command
      .option("--external", "something else runs it, and reaches us through the sockets that vm show lists")
      .option("--cid <number>", "with --external: what the guest is called on the host kernel's AF_VSOCK"),
  ).addHelpText(
    "after",
    examples(
      "hatchway vm create web-1 --secret db-password",
      "hatchway vm create firecracker-7 --external --runner fc7",
    ),
  );
}

function defineAdopt(command: Command): Command {
  return secretFlags(command)
    .optionsGroup("How the host sees the VM's process, one of:")
    .option("--uds <path>", "the vsock socket of Firecracker, Cloud Hypervisor, vhost-device-vsock; brings secrets too")
    .option("--qmp <socket>", "a monitor of QEMU's, for Hatchway alone; plugs a virtio-serial port in")
    .option("--libvirt <domain>", "a domain of this host's libvirt; plugs a virtio-serial port in")
    .option("--pid <number>", "the process, until it ends")
    .optionsGroup("Besides:")
    .option("--cid <number>", "what the guest is called on the host kernel's AF_VSOCK")
    .option("--runner <user>", "refuse a process that is not that user's")
    .description(
      "Take in a VM that something else has started and goes on to run. The host watches its process, which decides " +
        "who it is and when its guest boots; one that is started again is found again.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway vm adopt fc-7 --uds /srv/fc-7/v.sock --secret db-password",
        "hatchway vm adopt web-1 --qmp /run/web-1/hatchway-qmp.sock --secret db-password",
        "hatchway vm adopt web-1 --libvirt web-1 --secret db-password",
      ),
    );
}

function defineStop(command: Command): Command {
  return command.option("--grace <duration>", "end it after that time if it has not powered down (10s)");
}

function defineAttach(command: Command): Command {
  return deliveryFlags(
    command.option("--as <name>", "another path, or another variable for a secret that is only that"),
    "as the secret says",
  )
    .option("--no-env", "no variable; a file")
    .optionsGroup("Versions:")
    .option("--pin", "keep the version of now, whatever comes after it, until vm unpin")
    .description("Attach secrets to a VM, or change how they are delivered there; a running guest gets them at once.")
    .addHelpText(
      "after",
      examples(
        "hatchway vm attach web-1 db-password tls.key",
        "hatchway vm attach web-1 prod-db --env DB_PASSWORD",
        "hatchway vm attach web-1 tls.key --as nginx/key.pem --owner nginx --mode 0400",
      ),
    );
}

function defineStatus(command: Command): Command {
  return command
    .option("--wait", "until it is in sync; exit 7 and name those that are not")
    .option("--timeout <duration>", "how long to wait (10s)")
    .addHelpText("after", examples("hatchway vm status", "hatchway vm status web-1 --wait --timeout 30s"));
}

export function logFlags(command: Command): Command {
  return command
    .option("-n, --lines <number>", "how many of the last lines (100)")
    .option("-f, --follow", "go on as lines come, until Ctrl-C");
}

function defineShell(command: Command): Command {
  return command
    .description("Run a command as root in the project's minimal guest. The exit code is the command's.")
    .option("--timeout <duration>", "how long it may take (30s)")
    .addHelpText("after", examples("hatchway vm shell web-1 -- ls -ln /run/hatchway/secrets/"));
}
