#!/bin/busybox sh
# The least that boots and runs a Nomad server: PID 1, first in the initramfs, then on the root. It loads the same modules in the
# same order as the agent. Whatever fails ends it, and with it the kernel: a prototype that leaves work out is no peer.
# ADDRESS and ROUTER are put in by whoever makes the initramfs.
set -e

# What the list $1 names.
load_modules() {
    base=/usr/lib/modules/$($b uname -r)
    while read -r module; do
        case $module in
            [?]*) $b insmod "$base/${module#?}" 2>/dev/null || true ;;
            *) $b insmod "$base/$module" ;;
        esac
    done <"$1"
}

initramfs() {
    b=/bin/busybox
    $b mount -t proc proc /proc
    $b mount -t sysfs sysfs /sys
    $b mount -t devtmpfs devtmpfs /dev
    $b mount -t tmpfs -o mode=0755 tmpfs /run
    exec </dev/console >/dev/console 2>&1
    load_modules /usr/lib/steppe/modules
    $b mount -t squashfs -o ro /dev/vda2 /sysroot
    $b cp $b /init /root.modules /run/
    for folder in proc sys dev run; do $b mount -o move /$folder /sysroot/$folder; done
    exec $b switch_root /sysroot /run/busybox sh /run/init root
}

root() {
    b=/run/busybox
    load_modules /run/root.modules
    $b mkdir -p /dev/pts /dev/shm
    $b mount -t devpts devpts /dev/pts
    for folder in /dev/shm /tmp /etc; do $b mount -t tmpfs tmpfs $folder; done
    $b mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
    $b cp -a /usr/share/steppe/etc/. /etc/
    /usr/sbin/mke2fs -q -F -t ext4 -m 1 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard /dev/vdb
    $b mount -t ext4 /dev/vdb /var
    $b mkdir -p /var/lib/nomad
    $b hostname prototype
    $b ip link set lo up
    $b ip link set eth0 up
    $b ip address add ADDRESS/24 dev eth0
    $b ip route add default via ROUTER
    echo '{
      "name": "prototype", "data_dir": "/var/lib/nomad", "bind_addr": "0.0.0.0",
      "advertise": { "http": "ADDRESS", "rpc": "ADDRESS", "serf": "ADDRESS" },
      "disable_update_check": true, "server": { "enabled": true, "bootstrap_expect": 1, "start_timeout": "5m" }
    }' >/run/nomad.json
    echo "prototype: network is up"
    ulimit -n 65536
    PATH=/usr/sbin:/usr/bin /usr/bin/nomad agent -config /run/nomad.json >/run/nomad.log 2>&1 || $b tail -n 20 /run/nomad.log
}

${1:-initramfs}
