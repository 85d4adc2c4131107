// A libvirt of a test's own in a SystemHost: the stock libvirtd of Debian, with QEMU without KVM, as one of its users. What
// it finds out about QEMU takes it half a minute, and is kept from one run to the next.
import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { guestFiles } from "#test/kit/guest";
import { SystemHost, type HostUser } from "#test/kit/system-host";

const kept = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hatchway/libvirt");

/** Starts libvirtd; it ends by itself a minute after its last client and domain. */
export async function startLibvirt(host: SystemHost, user: HostUser): Promise<void> {
  mkdirSync(kept, { recursive: true, mode: 0o700 });
  const qemu = [
    'security_driver="none"',
    `user="${user.name}"`,
    `group="${user.name}"`,
    'stdio_handler="file"',
    "cgroup_controllers=[]",
    "dynamic_ownership=0",
    "remember_owner=0",
    "namespaces=[]",
  ];
  await host.root(
    [
      // To ask a KVM that is there and cannot be used takes it minutes; what QEMU may not open is not asked.
      "{ ! test -e /dev/kvm || { : >/run/no-kvm && chmod 600 /run/no-kvm && mount --bind /run/no-kvm /dev/kvm; }; }",
      "mkdir -p /run/libvirt /var/cache/libvirt/qemu /var/log/libvirt /etc/libvirt",
      "mount -t tmpfs tmpfs /var/cache/libvirt && mount -t tmpfs tmpfs /var/log/libvirt && mkdir -p /var/cache/libvirt/qemu/capabilities",
      `mount --bind ${kept} /var/cache/libvirt/qemu/capabilities`,
      `printf '%s\\n' ${qemu.map((line) => `'${line}'`).join(" ")} >/etc/libvirt/qemu.conf`,
      `printf '%s\\n' 'listen_tls=0' 'auth_unix_rw="none"' 'unix_sock_group="root"' >/run/libvirtd.conf`,
      "libvirtd --config /run/libvirtd.conf --timeout 60 --daemon >/run/libvirtd.log 2>&1",
      "until virsh -c qemu:///system list >/dev/null 2>&1; do sleep 0.1; done",
    ].join(" && "),
  );
}

/** A domain of the minimal guest, whose shell is at `shell`; `devices` are put into it. */
export function domainXml(name: string, shell: string, words: string, devices = ""): string {
  const { kernel, initrd } = guestFiles();
  const linux = "console=ttyS0 quiet panic=-1 cryptomgr.notests nokaslr tsc=reliable no_timer_check lpj=4000000";
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>256</memory>
    <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
      <cmdline>${linux} ${words}</cmdline></os>
    <cpu mode='custom'><model>qemu64</model><feature name='rdrand' policy='require'/></cpu>
    <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='none'/>
      <controller type='virtio-serial' index='0'/>
      <channel type='unix'><source mode='bind' path='${shell}'/><target type='virtio' name='org.hatchway.shell'/></channel>
      ${devices}</devices></domain>`;
}
