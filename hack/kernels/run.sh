#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# run.sh [-v] [SERIES...]: the tests of the datapath that need root, two pods that ping among them, under Debian's newest
# cloud kernel of each series (6.1 and 6.12), each in a QEMU guest without KVM, all at once: a guest is one processor's work.
# Needs no root once hack/deps.sh has run.
# -v prints all that the tests say. PACKAGES="bpf/tests …" and RUN=TestX select tests, TIMEOUT bounds a guest in seconds.
# Reports and the kernels' own messages stay in dist/kernels.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=$(cd "$HERE/../.." && pwd)/dist/kernels
PATH=$PATH:/usr/sbin:/sbin
verbose=no

die() {
	echo "kernels: $*" >&2
	exit 1
}

require() {
	local need
	for need in "qemu-system-x86_64 qemu-system-x86" "cpio cpio" "modprobe kmod" "busybox busybox-static"; do
		command -v "${need% *}" >/dev/null ||
			die "${need% *} is missing: install the Debian package ${need#* } (hack/deps.sh installs them all)"
	done
	[ "$(dpkg --print-architecture)" = amd64 ] || die "the guests run Debian's amd64 kernels only"
}

# boot KERNEL SYSTEM REPORT CONSOLE: an ordinary guest kernel hangs under the KVM of some clouds, so KVM is never used. One
# processor only: with two, QEMU 7.2 may keep translated code that a kernel has since patched, and the guest dies of an int3.
boot() {
	local initrd=${3%.log}.cpio
	cat "$2" "$OUT/tests.cpio" >"$initrd"
	timeout -k 10 "${TIMEOUT:-3000}" qemu-system-x86_64 -machine q35 -accel tcg -cpu max -smp 1 -m 2048 \
		-nodefaults -no-user-config -display none -no-reboot \
		-chardev file,id=console,path="$4" -serial chardev:console -chardev file,id=report,path="$3" -serial chardev:report \
		-kernel "$1/vmlinuz" -initrd "$initrd" -append "console=ttyS0 panic=-1 oops=panic quiet" </dev/null
	local result=$?
	rm -f "$initrd"
	[ $result = 124 ] && echo "kernels: the guest was stopped after ${TIMEOUT:-3000} s" >&2
	return $result
}

# complaints CONSOLE: what a kernel says when it is hurt.
complaints() { grep -aE 'BUG:|Oops|Kernel panic|general protection|WARNING:|blocked for more than|Out of memory' "$1"; }

test_on() { # SERIES
	local kernel system report=$OUT/$1.log console=$OUT/$1.console.log start=$SECONDS result=0
	kernel=$("$HERE/kernel.sh" "$1") && system=$("$HERE/system.sh" "$kernel") || return 1
	truncate -s 0 "$report" "$console"
	boot "$kernel" "$system" "$report" "$console" || result=1
	[ $verbose = no ] || cat "$report"
	awk -v series="$1" -f "$HERE/summary.awk" "$report" || result=1
	if complaints "$console" | sed "s/^/kernels: $1 the kernel says: /" | grep .; then result=1; fi
	[ $result = 0 ] || { echo "kernels: $1 the kernel's last words:" && tail -n 5 "$console"; }
	echo "kernels: $1 took $((SECONDS - start)) s; all that was said is in dist/kernels/$1.log"
	return $result
}

main() {
	local series result=0 start=$SECONDS
	declare -A guests
	if [ "${1:-}" = -v ]; then verbose=yes && shift; fi
	[ $# -gt 0 ] || set -- 6.1 6.12
	require
	mkdir -p "$OUT"
	exec 8>"$OUT/lock"
	flock -n 8 || die "another run is using $OUT"
	# shellcheck disable=SC2086
	"$HERE/tests.sh" "$OUT" ${PACKAGES:-} || result=1
	echo "kernels: tests built in $((SECONDS - start)) s"
	for series in "$@"; do
		test_on "$series" >"$OUT/$series.summary" 2>&1 &
		guests[$series]=$!
	done
	for series in "$@"; do
		wait "${guests[$series]}" || result=1
		cat "$OUT/$series.summary"
	done
	return $result
}

main "$@"
