#!/bin/busybox sh
# The least that boots: PID 1 of the initramfs. It loads the same modules in the same order as the agent and hands over to
# /run/root.sh on the root. Whatever fails ends it, and with it the kernel: a prototype that leaves work out is no peer.
set -e
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mount -t tmpfs -o mode=0755 tmpfs /run
exec </dev/console >/dev/console 2>&1
base=/usr/lib/modules/$($b uname -r)
while read -r module; do
    case $module in
        [?]*) $b insmod "$base/${module#?}" 2>/dev/null || true ;;
        *) $b insmod "$base/$module" ;;
    esac
done </usr/lib/steppe/modules
$b mount -t squashfs -o ro /dev/vda2 /sysroot
$b cp $b /root.sh /root.modules /run/
for folder in proc sys dev run; do $b mount -o move /$folder /sysroot/$folder; done
exec $b switch_root /sysroot /run/busybox sh /run/root.sh
