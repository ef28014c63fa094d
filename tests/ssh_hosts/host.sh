#!/bin/sh
# A host that labctl did not make: processes in namespaces and a cgroup of their own.
#
#   host.sh CGROUP FOLDER NAME KIND     enters the cgroup $1, which is to be the host's root
#   host.sh --within FOLDER NAME KIND   is process 1 there, and becomes Debian's sshd
#
# FOLDER/lib is the host's /var/lib, FOLDER/ssh its /etc/ssh, FOLDER/hosts its /etc/hosts, and
# FOLDER/home is root's home, for a login runs what is in .bashrc. A host of the kind `furnished`
# has the mounts that systemd makes at boot, and one that is `bare` has none of them.
set -eu
export PATH="$PATH:/usr/sbin:/sbin"

if [ "$1" != --within ]; then
	echo $$ >"$1/cgroup.procs"
	shift
	exec unshare --net --mount --uts --cgroup --pid --fork --kill-child --mount-proc \
		sh "$0" --within "$@"
fi

own=$2 name=$3 kind=$4
mount --bind "$own/lib" /var/lib
mount --bind "$own/ssh" /etc/ssh
mount --bind "$own/hosts" /etc/hosts
mount --bind "$own/home" "$(getent passwd root | cut -d: -f6)"
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
if [ "$kind" = furnished ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount -t bpf bpf /sys/fs/bpf
fi
echo "$name" >/proc/sys/kernel/hostname
ip link set dev lo up
# Debian's unit makes it; sshd wants it for privilege separation.
mkdir /run/sshd
exec /usr/sbin/sshd -D -e
