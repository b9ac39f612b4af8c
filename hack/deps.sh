#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# Installs the Debian packages that building, testing and the cluster need. Quick when all are there.
set -euo pipefail

PACKAGES=(
	# Go programs and C
	gcc make git libc6-dev pkg-config libseccomp-dev
	# BPF programs
	clang-19 llvm-19 clang-format-19 libbpf-dev bpftool
	# the cluster and its images
	iproute2 util-linux procps openssl curl wget jq kmod busybox-static
	iputils-ping dnsutils netcat-openbsd iperf3
	# kube-proxy, to compare with
	iptables
	# looking inside
	nftables conntrack ethtool tcpdump
	# other kernels
	qemu-system-x86 cpio
	# linting
	shellcheck
)

missing=()
for package in "${PACKAGES[@]}"; do
	[ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ "$(id -u)" = 0 ] || { echo "deps: not root; run: apt-get install ${missing[*]}" >&2 && exit 1; }
echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work on the same machine.
apt=(apt-get -q -o DPkg::Lock::Timeout=600)
"${apt[@]}" update >/dev/null
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
	{ echo "deps: apt-get could not install: ${missing[*]}" >&2 && exit 1; }
