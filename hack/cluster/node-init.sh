#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# node-init.sh NODE: PID 1 of a node. Gives it a root of its own, starts containerd and the kubelet, reaps orphans.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A root like the machine's, where writing changes nothing of the machine, and the disk for what survives a reboot.
make_root() { # NODE
	local dir=$RUN/nodes/$1 disk=$RUN/nodes/$1/disk r=$RUN/nodes/$1/ovl/root
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 node-memory "$dir/ovl"
	mkdir "$dir"/ovl/{upper,work,root}
	mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/ovl/upper,workdir=$dir/ovl/work" "$r"
	mount --rbind /dev "$r/dev"
	mount -t proc proc "$r/proc"
	mount -t sysfs sysfs "$r/sys"
	mount -t tmpfs -o mode=755 tmpfs "$r/run"
	mount -t tmpfs -o mode=1777 tmpfs "$r/tmp"
	mount -t bpf bpf "$r/sys/fs/bpf"
	mount -t debugfs debugfs "$r/sys/kernel/debug" 2>/dev/null || true # for eyes only
	mount -t tracefs tracefs "$r/sys/kernel/tracing" 2>/dev/null || true
	make_cgroups "$r/sys/fs/cgroup"
	mkdir -p "$r"/var/lib/{kubelet,containerd} "$r"/etc/{kubernetes/manifests,cni,containerd} "$r/opt/cni" "$r/.old" \
		"$r$CACHE" "$r$HERE"
	mount --bind "$CACHE" "$r$CACHE"
	mount --bind "$HERE" "$r$HERE"
	mount --bind "$disk/kubelet" "$r/var/lib/kubelet"
	mount --bind "$disk/containerd" "$r/var/lib/containerd"
	mount --bind "$disk/log" "$r/var/log"
	mount --bind "$disk/etc-cni" "$r/etc/cni"
	mount --bind "$disk/opt-cni" "$r/opt/cni"
	mkdir -p "$r/etc/cni/net.d" "$r/opt/cni/bin"
	cd "$r"
	pivot_root . .old
	exec </dev/null
	cd /
	umount -l /.old
	rmdir /.old
	mount --make-rshared / # as systemd does: hostPath mounts propagate both ways
}

# make_cgroups DIR: the same hierarchies again; through the cgroup namespace their roots are the node's groups.
make_cgroups() {
	local controllers
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		mount -t cgroup2 cgroup2 "$1"
		echo $$ >"$1/init/cgroup.procs" # the root must be empty for its children to be controlled
		return
	fi
	mount -t tmpfs -o mode=755 cgroup "$1"
	while IFS=: read -r _ controllers _; do
		case $controllers in
		'') mkdir "$1/unified" && mount -t cgroup2 cgroup2 "$1/unified" ;;
		name=*) mkdir "$1/${controllers#name=}" && mount -t cgroup -o "none,$controllers" cgroup "$1/${controllers#name=}" ;;
		*) mkdir "$1/$controllers" && mount -t cgroup -o "$controllers" cgroup "$1/$controllers" ;;
		esac
	done </proc/self/cgroup
}

# shield: the kubelet insists on some machine-wide sysctls, and writes them. It is shown plain files that hold what it
# wants, so the machine's values stay. The boot id is the same trick: a new one at every start, as after a reboot.
shield() {
	local setting file
	mkdir -p /run/node/proc /run/netns
	for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
		kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000 \
		"kernel/random/boot_id=$(</proc/sys/kernel/random/uuid)"; do
		file=${setting%%=*}
		echo "${setting#*=}" >"/run/node/proc/${file//\//_}"
		mount --bind "/run/node/proc/${file//\//_}" "/proc/sys/$file"
	done
}

make_identity() { # NODE
	hostname "$1"
	echo "$1" >/etc/hostname
	echo "$PFX$1" | md5sum | cut -c1-32 >/etc/machine-id
	printf '%s\n' "127.0.0.1 localhost" "::1 localhost" "$(node_ip4 "$1") $1" "$(node_ip6 "$1") $1" >/etc/hosts
	echo "nameserver 127.0.0.1" >/etc/kubernetes/resolv.conf
	ip link set lo up
	sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# load_images: the sandbox's first, the kubelet cannot do without; then the rest.
load_images() {
	local tar
	for tar in "$IMAGES"/pause.tar "$IMAGES"/agnhost.tar; do
		[ "$(sha256sum <"$tar")" != "$(cat "/var/lib/containerd/.imported-${tar##*/}" 2>/dev/null)" ] || continue
		ctr -n k8s.io images import "$tar" && sha256sum <"$tar" >"/var/lib/containerd/.imported-${tar##*/}"
	done
	touch /run/node/images
}

api_answers() { curl -skf --max-time 1 "$API/readyz" >/dev/null; }

main() {
	local node=$1 i
	make_root "$node"
	shield
	make_identity "$node"
	export PATH=$BIN:$PATH HOME=/root
	daemon() { bash "$HERE/node-daemon.sh" "$node" "$@"; }
	daemon start containerd
	load_images >>/var/log/images.log 2>&1 &
	# A kubelet that starts before the API server loses seconds in back-off.
	for ((i = 0; i < 600; i++)); do
		if api_answers; then break; fi
		sleep 0.1
	done
	daemon start kubelet
	set +e
	while :; do wait -n 2>/dev/null || sleep 1; done
}

main "$@"
