#!/bin/sh
# What an expert does to a fresh Debian before he makes an image of it for machines that run a Nomad server. It boots as
# quickly as Debian's own means allow, and does what the image does too: any size of disk, a host name, the time, the
# same user-data. A way to log in stays, since nothing else would let anybody look after it.
# mmdebstrap runs this at the end of its work: $1 is the new root, $2 the Nomad for it, $3 where the results go.
set -eu
root=$1 nomad=$2 out=$3
put() { mkdir -p "$root/${1%/*}"; cat >"$root/$1"; }

# Nomad as the vendor's package has it: a user, folders and a unit of its own. It starts with the boot and not by a script, when
# cloud-init has written the user-data's files; the later stages of cloud-init are not waited for.
chroot "$root" useradd --system --home-dir /var/lib/nomad --shell /usr/sbin/nologin nomad
install -m 0755 "$nomad" "$root/usr/bin/nomad"
chroot "$root" install -d -o nomad -g nomad -m 0700 /var/lib/nomad /etc/nomad.d
put etc/nomad.d/nomad.hcl <<'END'
data_dir             = "/var/lib/nomad"
bind_addr            = "0.0.0.0"
disable_update_check = true
END
put etc/systemd/system/nomad.service <<'END'
[Unit]
Description=Nomad
Wants=network-online.target
After=network-online.target cloud-init-network.service
[Service]
Type=notify
User=nomad
ExecStart=/usr/bin/nomad agent -config /etc/nomad.d
KillMode=process
KillSignal=SIGINT
LimitNOFILE=65536
Restart=on-failure
OOMScoreAdjust=-1000
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/nomad
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictSUIDSGID=yes
[Install]
WantedBy=multi-user.target
END

# cloud-init: one datasource and no search for others, no network configuration of its own, and of its forty modules
# those that this machine needs. Users are in the image. What it says goes to its log, not to the slow console.
echo 'policy: enabled' >"$root/etc/cloud/ds-identify.cfg"
put etc/cloud/cloud.cfg <<'END'
datasource_list: [NoCloud, None]
network: { config: disabled }
users: []
ssh_genkeytypes: [ed25519]
cloud_init_modules: [seed_random, write-files, set_hostname, update_hostname, ssh]
cloud_config_modules: []
cloud_final_modules: [write-files-deferred]
system_info:
  distro: debian
  paths: { cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/ }
  network: { renderers: [networkd] }
END
for stage in main local network; do
    printf '[Service]\nStandardOutput=journal\n' | put etc/systemd/system/cloud-init-$stage.service.d/quiet.conf
done
rm -f "$root"/etc/ssh/ssh_host_*

# The network: networkd and resolved, and nobody looks for routers of IPv6.
put etc/systemd/network/80-dhcp.network <<'END'
[Match]
Type=ether
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
END
chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved systemd-timesyncd ssh nomad
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
echo localhost >"$root/etc/hostname"

# The disk: systemd grows partition and file system, which is less work than cloud-init's way.
printf '[Partition]\nType=root\n' | put etc/repart.d/root.conf
echo '/dev/vda1 / ext4 rw,noatime,x-systemd.growfs 0 0' >"$root/etc/fstab"

# No updates in place, no terminals, no log on the disk, and nothing of what serves desktops, TPMs or debuggers.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service systemd-pstore.service \
    systemd-update-utmp.service systemd-rfkill.service systemd-journal-flush.service ldconfig.service \
    systemd-journal-catalog-update.service systemd-hwdb-update.service systemd-update-done.service \
    systemd-firstboot.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount dev-hugepages.mount \
    dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    cloud-init-hotplugd.socket cloud-config.service cloud-final.service
printf '[Journal]\nStorage=volatile\n' | put etc/systemd/journald.conf.d/volatile.conf
printf '[Manager]\nShowStatus=no\n' | put etc/systemd/system.conf.d/quiet.conf
chroot "$root" systemctl --quiet set-default multi-user.target
# Drivers that udev would load for hardware of the machine that nobody uses here.
printf 'blacklist %s\n' kvm kvm_amd kvm_intel ahci powernow_k8 cryptd aesni_intel | put etc/modprobe.d/unused.conf
# A known id: without one every boot is a first one, which presets all units.
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"

# An initramfs with the one driver that the root needs: ext4 and virtio_pci are in the kernel.
printf 'MODULES=list\nCOMPRESS=zstd\nFSTYPE=ext4\n' | put etc/initramfs-tools/conf.d/small
echo virtio_blk >"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u

# The disk image. Tables of the file system are finished here and not by a thread of the running machine.
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
rm -rf "$root"/tmp/*
PATH=$PATH:/usr/sbin:/sbin
rm -f "$out/disk.raw"
truncate -s 2G "$out/disk.raw"
sgdisk --new=1:2048:0 --typecode=1:8304 "$out/disk.raw" >/dev/null
# A second view of the root, without what is mounted in it; the mount goes with mmdebstrap's name space.
mkdir -p "$out/root"
mount --bind "$root" "$out/root"
mke2fs -q -F -t ext4 -E offset=1048576,lazy_itable_init=0,lazy_journal_init=0 -d "$out/root" "$out/disk.raw" 2090000k
umount "$out/root"
