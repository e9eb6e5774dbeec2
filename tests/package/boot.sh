#!/usr/bin/env bash
# Installs a .deb into a copy of this system that nobody else sees, and starts systemd there as PID 1.
# Usage, as root, in new namespaces (unshare --mount --pid --fork --uts --cgroup --net --ipc): boot.sh DEB
# The copy is an overlay whose writes lie in memory; all of it ends with PID 1. Exit status 77: this system
# does not let us mount one.
set -Eeuo pipefail
trap 'echo "boot.sh: line $LINENO cannot be done here" >&2; exit 77' ERR
deb=$(realpath "$1")
own=/mnt # only here: our mounts are our own
mount -t tmpfs own "$own"
mkdir "$own"/{upper,work,root}
mount -t overlay own -o "lowerdir=/,upperdir=$own/upper,workdir=$own/work" "$own/root"
cp "$deb" "$own/root/baton.deb"
cd "$own/root"

mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=0755 dev dev
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 pts dev/pts
ln -s pts/ptmx dev/ptmx
for node in null zero full random urandom tty; do cp -a "/dev/$node" dev; done
ln -s /proc/self/fd dev/fd
mount -t cgroup2 groups sys/fs/cgroup

# Not chroot: in one no process may have a user namespace of its own (PrivateUsers).
mkdir -p before
pivot_root . before
umount -l /before
trap - ERR
dpkg --no-triggers -i /baton.deb
sed -i 's|^  path: .*|  path: random:tiny|' /etc/baton/cluster.yaml

# What a machine has and this one must not touch.
mkdir -p /run/systemd/system
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    systemd-udev-trigger.service systemd-sysctl.service systemd-modules-load.service \
    systemd-timesyncd.service systemd-tmpfiles-setup-dev.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    systemd-random-seed.service systemd-machine-id-commit.service networking.service \
    ifupdown-pre.service; do
    ln -s /dev/null "/run/systemd/system/$unit"
done
cat >/run/systemd/system/bare.target <<END
[Unit]
DefaultDependencies=no
END
# The one thing about the units that differs: a worker that was killed is not waited for so long.
mkdir -p "/run/systemd/system/baton-worker@.service.d"
printf '[Service]\nRestartSec=100ms\n' >"/run/systemd/system/baton-worker@.service.d/soon.conf"
ip link set lo up
echo "boot.sh: installed"
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=bare.target --show-status=0 \
    --log-target=console
