#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# kernel.sh SERIES: prints the folder that holds Debian's newest cloud kernel of the series (6.1, 6.12): vmlinuz, its
# configuration and its modules, unpacked from the package, never installed. Downloads only when Debian has a newer one.
set -euo pipefail
SERIES=${1:?usage: kernel.sh SERIES}
CACHE=${CILIATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ciliate}/kernels

die() {
	echo "kernels: $*" >&2
	exit 1
}

# newest: package and version, as Debian calls the folder's content too: linux-image-6.1.0-56-cloud-amd64 6.1.192-2.
newest() {
	local package version
	package=$(apt-cache search --names-only "^linux-image-${SERIES//./\\.}\.[0-9][^ ]*-cloud-amd64\$" |
		cut -d ' ' -f 1 | sort -V | tail -1)
	[ -n "$package" ] || return 1
	version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')
	echo "$package $version"
}

refresh() {
	[ "$(id -u)" = 0 ] || die "apt knows no linux-image-$SERIES.*-cloud-amd64, and only root may run: apt-get update"
	echo "kernels: updating apt's lists" >&2
	timeout 300 apt-get -q -o DPkg::Lock::Timeout=240 update >/dev/null
}

# fetch PACKAGE VERSION FOLDER: the folder appears when it is complete.
fetch() {
	local work
	work=$(mktemp -d "$CACHE/tmp.XXXXXX")
	echo "kernels: downloading $1 $2" >&2
	# As ourselves: apt's own user cannot write to the cache.
	(cd "$work" && timeout 300 apt-get -q -o APT::Sandbox::User="$(id -un)" download "$1=$2" >/dev/null) ||
		{ rm -rf "$work" && return 1; }
	mkdir "$work/root"
	dpkg-deb -x "$work"/*.deb "$work/root"
	mkdir "$work/kernel"
	mv "$work/root/lib" "$work/kernel/lib"
	mv "$work"/root/boot/vmlinuz-* "$work/kernel/vmlinuz"
	mv "$work"/root/boot/config-* "$work/kernel/config"
	depmod -b "$work/kernel" "$(ls "$work/kernel/lib/modules")"
	mv "$work/kernel" "$3"
	rm -rf "$work"
}

main() {
	local package version folder old
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	flock -w 600 9 || die "another run has held $CACHE/lock for ten minutes"
	read -r package version < <(newest || { refresh && newest; }) ||
		die "Debian offers no cloud kernel of the series $SERIES here"
	folder=$CACHE/${package}_$version
	if [ ! -d "$folder" ]; then
		# Lists that are too old name packages that are gone.
		fetch "$package" "$version" "$folder" || {
			refresh
			read -r package version < <(newest)
			folder=$CACHE/${package}_$version
			fetch "$package" "$version" "$folder"
		} || die "apt-get could not download $package $version"
		for old in "$CACHE/linux-image-$SERIES".*; do
			[ "$old" = "$folder" ] || rm -rf "$old"
		done
	fi
	echo "$folder"
}

main
