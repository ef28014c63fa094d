#!/bin/sh
# Process 1 of namespaces made by unshare(1): a libvirtd that the host has nothing of. What it
# keeps is in the folder $1, its bridges and its dnsmasq are in a network namespace of their own.
set -eu
own=$1
export PATH="$PATH:/usr/sbin:/sbin"

mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
ip link set dev lo up
for folder in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
	mkdir -p "$own$folder"
	mount --bind "$own$folder" "$folder"
done
mkdir -p /var/lib/libvirt/images

# It is not told of cgroups, namespaces and confinement: where this runs there may be none.
cat >/etc/libvirt/qemu.conf <<CONF
security_driver = "none"
cgroup_controllers = []
namespaces = []
user = "root"
group = "root"
stdio_handler = "file"
CONF
cat >/etc/libvirt/libvirtd.conf <<CONF
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
CONF

# QEMU's processes are left to process 1, and libvirtd takes one that is not reaped for one
# that cannot be killed: so the shell waits for all of them.
libvirtd &
while kill -0 $! 2>/dev/null; do wait $! || true; done
