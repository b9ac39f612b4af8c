# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# What the cluster needs of the machine, asked before anything is made.

# Command, Debian package.
NEEDED_COMMANDS="ip iproute2
ss iproute2
sysctl procps
nsenter util-linux
unshare util-linux
flock util-linux
openssl openssl
curl curl
awk gawk
setsid util-linux"

check_commands() {
	local command package
	[ "$NETWORK" != kube-proxy ] || NEEDED_COMMANDS+=$'\niptables iptables\nnft nftables'
	while read -r command package; do
		command -v "$command" >/dev/null || die "$command is missing: install the Debian package $package (hack/deps.sh installs them all)"
	done <<<"$NEEDED_COMMANDS"
}

check_kernel() {
	local fs link
	for fs in overlay bpf; do
		grep -qw "$fs" /proc/filesystems || modprobe "$fs" 2>/dev/null ||
			die "this kernel has no $fs filesystem (CONFIG_OVERLAY_FS, CONFIG_BPF_SYSCALL)"
	done
	for link in bridge veth "vxlan external dstport 8472"; do
		# shellcheck disable=SC2086 # type and its options are words
		unshare --net ip link add probe0 type $link 2>/dev/null ||
			die "this kernel makes no ${link%% *} device, or network namespaces are forbidden here"
	done
	[ -d /proc/sys/net/ipv6 ] || die "this kernel has no IPv6 (CONFIG_IPV6), and the wires carry both families"
	[ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/unified ] ||
		die "no cgroup version 2 at /sys/fs/cgroup or /sys/fs/cgroup/unified"
}

check_disk() {
	local kib
	mkdir -p "$RUN"
	# containerd keeps unpacked images as overlays, which cannot lie on an overlay.
	[ "$(stat -f -c %T "$RUN")" != overlayfs ] || die "$RUN lies on an overlay: set CILIATE_CACHE to a folder on a real disk"
	kib=$(df --output=avail -k "$RUN" | tail -1)
	[ "$kib" -ge $((4 * 1024 * 1024)) ] || die "$RUN has $((kib / 1024)) MiB left; the cluster needs 4 GiB"
}

check_port() {
	local holder
	alive forward && return
	holder=$(ss -Hltnp "sport = :$PORT" | head -1)
	[ -z "$holder" ] || die "port $PORT is taken: $holder; set PORT to a free one"
}

check_machine() {
	check_commands
	check_kernel
	check_disk
	check_port
}
