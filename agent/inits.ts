// `hatchway-agent units --init`: what makes an init of this guest run the agent. The texts are those of guest/, which a test
// compares; a source that is named is put into them.
import { isNetwork, parseSource } from "./source.ts";
import { AgentError } from "./error.ts";

export const INITS = ["systemd", "openrc", "plain"] as const;
export type Init = (typeof INITS)[number];

const RUN = "run";

/** The file for an init, whose agent fetches from `from`, or finds that out. Throws AgentError "usage". */
export function initFile(init: Init, from: string | undefined): string {
  const source = from === undefined ? undefined : parseSource(from);
  if (from !== undefined && !/^[A-Za-z0-9:@./_[\]-]+$/.test(from)) {
    throw new AgentError("usage", `source "${from}" has characters that a unit or a script could read otherwise`);
  }
  const words = from === undefined ? RUN : `${RUN} --from ${from}`;
  const needsNetwork = source !== undefined && isNetwork(source);
  switch (init) {
    case "systemd":
      return (needsNetwork ? SYSTEMD_NETWORK : SYSTEMD).replace("agent run\n", `agent ${words}\n`);
    case "openrc":
      return OPENRC.replace('"run"', `"${words}"`).replace(
        "after localmount",
        needsNetwork ? "use net\n  after localmount" : "after localmount",
      );
    case "plain":
      return PLAIN.replace('"run"', `"${words}"`).replaceAll(
        "$local_fs",
        needsNetwork ? "$local_fs $network" : "$local_fs",
      );
  }
}

/** What both units run, and under what. */
const SERVICE = `[Service]
Type=notify
ExecStart=/usr/bin/hatchway-agent run
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStartSec=90
LimitCORE=0
OOMScoreAdjust=-500
# Nothing that gives it a mount namespace (Protect…=, Private…=, ReadOnlyPaths=): its tmpfs is to be seen by all.
# What --on-change runs, runs under these.
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
SystemCallArchitectures=native
`;

const SYSTEMD = `# Brings this VM's secrets from its host. Ready once the first set is in place, so what comes after it finds its secrets;
# a host that does not answer holds up the boot for TimeoutStartSec= and no longer.
[Unit]
Description=Secrets from the host
DefaultDependencies=no
After=systemd-modules-load.service local-fs.target
Before=basic.target shutdown.target
Conflicts=shutdown.target

${SERVICE}
[Install]
WantedBy=basic.target
`;

const SYSTEMD_NETWORK = `# Brings this VM's secrets from its host over a network, as hatchway-agent.service in its place: a boot has no network before
# basic.target. Ready once the first set is in place; a unit that needs secrets says After=hatchway-agent.service.
[Unit]
Description=Secrets from the host
Wants=network-online.target
After=network-online.target

${SERVICE}
[Install]
WantedBy=multi-user.target
`;

const OPENRC = `#!/sbin/openrc-run
# Brings this VM's secrets from its host: /etc/init.d/hatchway-agent. What needs them says "need hatchway-agent": they are in
# place when this has started. A host that does not answer is asked on, and holds up no boot.

description="Secrets from the host"
supervisor=supervise-daemon
command=/usr/bin/hatchway-agent
command_args="run"
extra_started_commands="reload"
description_reload="Ask the host at once"

depend() {
  after localmount modules dev
}

start_pre() {
  "$command" sync \${command_args#run} || ewarn "no secrets yet"
}

reload() {
  "$command" sync \${command_args#run}
}
`;

const PLAIN = `#!/bin/sh
### BEGIN INIT INFO
# Provides:          hatchway-agent
# Required-Start:    $local_fs
# Required-Stop:     $local_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: secrets from the host
### END INIT INFO
# Brings this VM's secrets from its host, for any init that runs a script: /etc/init.d/hatchway-agent start. They are in place
# when it returns. A host that does not answer is asked on, and holds up no boot. What the agent says goes to the kernel's log.

agent=/usr/bin/hatchway-agent
arguments="run"
pid_file=/run/hatchway-agent.pid

# Prints the supervisor's pid, and fails where it is gone: a pid is used again, so its command line must be this script's.
supervisor() {
  [ -e "$pid_file" ] && read -r pid <"$pid_file" || return 1
  tr '\\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'hatchway-agent supervise' && echo "$pid"
}

# Starts the agent again a second after it has ended, until SIGTERM.
supervise() {
  trap 'kill "$child"; wait "$child"; exit 0' TERM
  while :; do
    "$agent" $arguments &
    child=$!
    wait "$child"
    sleep 1 &
    child=$!
    wait "$child"
  done
}

ask() { "$agent" sync \${arguments#run}; }

start() {
  if supervisor >/dev/null; then return 0; fi
  ask || echo "hatchway-agent: no secrets yet" >&2
  "$0" supervise </dev/null >/dev/kmsg 2>&1 &
  echo $! >"$pid_file"
}

stop() {
  pid=$(supervisor) || return 0
  kill "$pid"
  while supervisor >/dev/null; do sleep 1; done
  rm -f "$pid_file"
}

case \${1:-} in
start) start ;;
stop) stop ;;
restart) stop && start ;;
reload) supervisor >/dev/null && ask ;;
status) supervisor >/dev/null && "$agent" status ;;
supervise) supervise ;;
*)
  echo "usage: $0 start|stop|restart|reload|status" >&2
  exit 2
  ;;
esac
`;
