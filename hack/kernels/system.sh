#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# system.sh KERNEL: prints the archive (initramfs) with all that a guest needs besides the tests: init, busybox, this
# machine's network tools with their libraries, and the kernel modules of the list beside this script with those that
# they need, numbered in the order of loading. KERNEL is a folder of kernel.sh. Made again only when a part has changed.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KERNEL=${1:?usage: system.sh KERNEL}
PATH=$PATH:/usr/sbin:/sbin
# dash is the guest's sh: busybox's would take its own ip for ip.
TOOLS=(dash ip tc bridge nft conntrack ethtool ping)

die() {
	echo "kernels: $*" >&2
	exit 1
}

tool() { command -v "$1" || die "$1 is missing: hack/deps.sh installs it"; }

# libraries FILE: a dynamic program's libraries and loader.
libraries() { ldd "$1" | grep -o '/[^ ]*'; }

put_tools() { # ROOT
	local name file
	for name in "${TOOLS[@]}"; do
		file=$(tool "$name")
		cp "$file" "$1/usr/bin/$name"
		libraries "$file" | while read -r file; do
			mkdir -p "$1/$(dirname "$file")"
			cp -Ln "$file" "$1/$file"
		done
	done
	ln -s dash "$1/usr/bin/sh"
}

put_modules() { # ROOT
	local release name dependencies file number=100
	release=$(ls "$KERNEL/lib/modules")
	while read -r name; do
		dependencies=$(modprobe -d "$KERNEL" -S "$release" --show-depends "$name") ||
			die "the kernel $release has no module $name"
		for file in $(sed -n 's/^insmod \([^ ]*\).*/\1/p' <<<"$dependencies"); do
			name=$(basename "$file" .xz)
			compgen -G "$1/modules/*-$name" >/dev/null && continue
			case $file in
			*.xz) xz -dc "$file" ;;
			*) cat "$file" ;;
			esac >"$1/modules/$number-$name"
			number=$((number + 1))
		done
	done <"$HERE/modules"
}

build() { # ARCHIVE
	local root
	root=$(mktemp -d "$KERNEL/tmp.XXXXXX")
	mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,modules,proc,sys,dev,run,tmp,root,etc}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root/"
	cp "$(tool busybox)" "$root/usr/bin/busybox"
	cp "$HERE/init" "$root/init"
	put_tools "$root"
	put_modules "$root"
	(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$1.tmp"
	mv "$1.tmp" "$1"
	rm -rf "$root"
}

main() {
	local parts hash archive
	# Packages change a tool and its libraries together, so the tools stand for both.
	mapfile -t parts < <(for name in busybox "${TOOLS[@]}"; do tool "$name"; done)
	hash=$(sha256sum "$HERE"/{init,modules,system.sh} "${parts[@]}" | cut -d ' ' -f 1 | sha256sum)
	archive=$KERNEL/system-${hash:0:16}.cpio
	if [ ! -e "$archive" ]; then
		rm -rf "$KERNEL"/system-* "$KERNEL"/tmp.*
		build "$archive"
	fi
	echo "$archive"
}

main
