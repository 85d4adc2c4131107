// Roots for a guest in a GuestNamespace: folders that are `chroot`ed to behind an sshd, in which all can be written.
import { homedir } from "node:os";
import { join } from "node:path";
import type { GuestNamespace } from "#test/kit/guest-namespace";
import type { SshdOptions } from "#test/kit/sshd";

const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hatchway");

/** Where such a root is in the namespace. */
export const GUEST_ROOT = "/run/root";

/** The shell that sshd starts is in the root. */
export const IN_ROOT: Pick<SshdOptions, "config"> = {
  config: [`ForceCommand exec chroot ${GUEST_ROOT} /bin/sh -c "$SSH_ORIGINAL_COMMAND"`],
};

/** Users for sshd and for files, in the namespace's own /etc. */
export function addUsers(guest: GuestNamespace): void {
  guest.shell(`mkdir -m 0755 /run/etc && cp /etc/passwd /etc/group /run/etc &&
    printf 'sshd:x:61005:65534::/:/bin/sh\\napp:x:1000:1000::/:/bin/sh\\n' >>/run/etc/passwd &&
    printf 'app:x:1000:\\n' >>/run/etc/group &&
    mount --bind /run/etc/passwd /etc/passwd && mount --bind /run/etc/group /etc/group`);
}

const SYSTEM = `mount -t proc proc ${GUEST_ROOT}/proc && mount --bind /dev ${GUEST_ROOT}/dev &&
  mount -t tmpfs -o mode=755 tmpfs ${GUEST_ROOT}/run`;

/** A root of busybox alone, without any init. */
export function makeBusyboxRoot(guest: GuestNamespace): void {
  guest.shell(`mkdir -p ${GUEST_ROOT}/bin ${GUEST_ROOT}/usr/bin && cd ${GUEST_ROOT} && mkdir proc run etc dev &&
    cp ${cache}/guest/busybox/bin/busybox bin && cp /run/etc/passwd /run/etc/group etc &&
    for tool in $(bin/busybox --list); do [ -e bin/$tool ] || ln -s busybox bin/$tool; done && ${SYSTEM}`);
}

/** This machine's root with OpenRC in it, whose state is as after a boot. */
export function makeOpenrcRoot(guest: GuestNamespace): void {
  guest.shell(`mkdir -p ${GUEST_ROOT} /run/upper/usr /run/work && cd /run/upper &&
    cp -a ${cache}/openrc/usr/. usr && cp -a ${cache}/openrc/etc . &&
    for folder in bin sbin lib; do mkdir -p usr/$folder; cp -a ${cache}/openrc/$folder/. usr/$folder; done &&
    mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay ${GUEST_ROOT} && ${SYSTEM} &&
    mkdir ${GUEST_ROOT}/run/openrc ${GUEST_ROOT}/run/lock && cd ${GUEST_ROOT}/run/openrc && touch softlevel &&
    mkdir exclusive started starting inactive wasinactive stopping failed hotplugged daemons options scheduled tmp`);
}
