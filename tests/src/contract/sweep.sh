# Ends what a test left running and removes its directory.
#
#   sweep.sh DIR        now
#   sweep.sh DIR wait   when the test binary is gone, however it went (standard input ends)
#
# A process belongs to DIR when its environment says so: executors and tasks inherit the environment of their agent, and outlive it.
trap '' INT TERM HUP
if [ "$2" = wait ]; then cat >/dev/null; fi
tries=0
while [ $tries -lt 100 ]; do
    pids=$(grep -slF "STEPPE_CONTRACT=$1/" /proc/[0-9]*/environ | cut -d/ -f3)
    [ "$pids" ] || break
    kill -9 $pids 2>/dev/null
    tries=$((tries + 1))
done
# A client mounts a tmpfs for the secrets of each task.
grep -F " $1/" /proc/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do umount -l "$mount"; done
rm -rf "$1"
