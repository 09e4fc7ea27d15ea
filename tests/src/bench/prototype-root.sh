# The least that runs a Nomad server: PID 1 on the root. ADDRESS and ROUTER are put in by whoever makes the initramfs.
set -e
b=/run/busybox
base=/usr/lib/modules/$($b uname -r)
while read -r module; do
    case $module in
        [?]*) $b insmod "$base/${module#?}" 2>/dev/null || true ;;
        *) $b insmod "$base/$module" ;;
    esac
done </run/root.modules
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
$b mount -t tmpfs tmpfs /tmp
$b mount -t tmpfs tmpfs /etc
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
