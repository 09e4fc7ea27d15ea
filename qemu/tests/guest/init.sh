#!/bin/busybox sh
# A guest that does what it is told on its console: the smallest thing that can prove the harness.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module" || echo "GUEST cannot load $module"; done < /modules/list
ip link set lo up
ip link set eth0 up
httpd -p 8080 -h /www
echo "GUEST ready"
while read -r line; do
    eval "$line"
    echo "GUEST done $?"
done < /dev/ttyS0
