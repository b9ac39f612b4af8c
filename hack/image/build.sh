#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# build.sh OUT_DIR [test|product|variant|conformance]: packs images as OUT_DIR/NAME.tar, without docker; the first two
# kinds unless one is named.
#   test         ciliate/pause:3.10.2, ciliate/coredns:1.14.7
#                ciliate/agnhost:2.63.0 (with a userland: sh, bash, ip, ss, ping, dig, curl, wget, nc, iperf3; and with CoreDNS)
#   product      ciliate/cilium-agent:$VERSION, ciliate/cilium-operator:$VERSION (VERSION: dev)
#   variant      ciliate/cilium-agent:variant: the same agent, its BPF programs compiled for size, for tests of an upgrade
#   conformance  what upstream's network specs need besides: ciliate/busybox:1.37.0-1, ciliate/glibc-dns-testing:2.0.0,
#                ciliate/regression-issue-74839:1.4
# The same content gives the same bytes, and hack/cluster/load.sh passes over what a node has already.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH
VERSION=${VERSION:-dev}
export GOFLAGS=-buildvcs=false

# Command in agnhost's userland, Debian package. (The wget of Debian's static busybox crashes.)
USERLAND="dash dash
bash bash
ip iproute2
ss iproute2
ping iputils-ping
dig dnsutils
curl curl
wget wget
nc.openbsd netcat-openbsd
iperf3 iperf3
getent libc-bin"

die() {
	echo "image: $*" >&2
	exit 1
}
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null || die "$1 is missing: install the Debian package $2 (hack/deps.sh installs them all)"
}

# pack NAME REF FLAG...: the folder $WORK/NAME as $OUT/NAME.tar.
pack() {
	local name=$1 ref=$2 tar=$OUT/$1.tar
	shift 2
	"$WORK/mkimage" -o "$tar.new" -ref "$ref" "$@" "$WORK/$name"
	if cmp -s "$tar.new" "$tar"; then
		rm "$tar.new"
		touch "$tar" # newer than its sources again
		echo "image: $ref is unchanged"
	else
		mv "$tar.new" "$tar"
		echo "image: $ref packed, $(($(stat -c %s "$tar") >> 20)) MiB"
	fi
}

# --- test images: rebuilt when what they are made of is newer ---

fresh() { # TAR SOURCE...
	local tar=$1 source
	shift
	[ -s "$tar" ] || return 1
	for source in "$@"; do [ "$tar" -nt "$source" ] || return 1; done
}

test_images() {
	local bin agnhost coredns
	bin=$("$REPO/hack/tools/build.sh" --bin-dir)
	"$REPO/hack/tools/build.sh" agnhost coredns
	agnhost=$(realpath "$bin/agnhost") coredns=$(realpath "$bin/coredns")
	if ! fresh "$OUT/pause.tar" "$HERE/main.go" "$HERE/pause/pause.c"; then pause; fi
	if ! fresh "$OUT/agnhost.tar" "$HERE/main.go" "$HERE/build.sh" "$agnhost" "$coredns"; then agnhost "$agnhost" "$coredns"; fi
	if ! fresh "$OUT/coredns.tar" "$HERE/main.go" "$HERE/build.sh" "$coredns"; then coredns "$coredns"; fi
}

coredns() { # BINARY
	mkdir "$WORK/coredns"
	cp "$1" "$WORK/coredns/coredns"
	pack coredns ciliate/coredns:1.14.7 -entrypoint /coredns
}

pause() {
	need gcc gcc
	mkdir "$WORK/pause"
	gcc -Os -static -s -o "$WORK/pause/pause" "$HERE/pause/pause.c"
	pack pause ciliate/pause:3.10.2 -user 65535:65535 -entrypoint /pause
}

# copy ROOT PROGRAM: with the shared objects it is linked to.
copy() {
	local program object
	program=$(readlink -f "$(command -v "$2")")
	cp "$program" "$1/usr/bin/$2"
	while read -r object; do
		mkdir -p "$1${object%/*}"
		cp -Ln "$object" "$1$object"
	done < <(ldd "$program" 2>/dev/null | grep -oE '/[^ ]+' || true)
}

applets() { # ROOT: folders, users and busybox
	local applet
	need busybox busybox-static
	mkdir -p "$1"/{bin,etc,tmp,usr/bin,var,run,root,proc,sys,dev}
	chmod 1777 "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
	printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$1/etc/passwd"
	printf '%s\n' root:x:0: nogroup:x:65534: >"$1/etc/group"
	echo "hosts: files dns" >"$1/etc/nsswitch.conf"
}

userland() { # ROOT
	local command package
	applets "$1"
	while read -r command package; do
		need "$command" "$package"
		copy "$1" "$command"
		rm -f "$1/bin/$command" # /bin must not hide /usr/bin
	done <<<"$USERLAND"
	# Debian's busybox shell prefers its own applets to $PATH, and its nc knows no -v.
	ln -sf ../usr/bin/dash "$1/bin/sh"
	ln -sf ../usr/bin/nc.openbsd "$1/bin/nc"
}

agnhost() { # AGNHOST COREDNS
	local root=$WORK/agnhost source
	userland "$root"
	mkdir "$root/uploads"
	cp "$1" "$root/agnhost"
	ln -s agnhost "$root/agnhost-2"
	# As upstream's image: a DNS server, and the porter's certificates.
	cp "$2" "$root/coredns"
	source=$(cd "$REPO/hack/tools/kubernetes" && GOWORK=off go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost
	install -m 644 "$source"/porter/localhost.{crt,key} "$root"
	pack agnhost ciliate/agnhost:2.63.0 -entrypoint /agnhost -cmd pause
}

# --- conformance images ---

conformance_images() {
	local bug
	"$REPO/hack/tools/build.sh" regression-issue-74839
	bug=$(realpath "$("$REPO/hack/tools/build.sh" --bin-dir)/regression-issue-74839")
	if ! fresh "$OUT/busybox.tar" "$HERE/main.go" "$HERE/build.sh"; then
		applets "$WORK/busybox"
		pack busybox ciliate/busybox:1.37.0-1 -cmd sh
	fi
	if ! fresh "$OUT/glibc-dns-testing.tar" "$HERE/main.go" "$HERE/build.sh"; then
		userland "$WORK/glibc-dns-testing"
		pack glibc-dns-testing ciliate/glibc-dns-testing:2.0.0 -cmd sh
	fi
	if ! fresh "$OUT/regression-issue-74839.tar" "$HERE/main.go" "$HERE/build.sh" "$bug"; then
		mkdir "$WORK/regression-issue-74839"
		cp "$bug" "$WORK/regression-issue-74839/"
		pack regression-issue-74839 ciliate/regression-issue-74839:1.4 -entrypoint /regression-issue-74839
	fi
}

# --- product images: always built, by Go's cache quickly ---

static() { # OUT PACKAGE
	(cd "$REPO" && CGO_ENABLED=0 go build -trimpath -o "$1" \
		-ldflags "-s -w -X github.com/ciliate-io/ciliate/internal/version.Version=$VERSION" "$2")
}

agent_image() {
	mkdir "$WORK/cilium-agent"
	"$REPO/hack/tools/build.sh" loopback
	cp "$("$REPO/hack/tools/build.sh" --bin-dir)/loopback" "$WORK/cilium-agent/loopback"
	static "$WORK/cilium-agent/cilium-agent" ./cmd/agent
	static "$WORK/cilium-agent/cilium-cni" ./cnibin
	pack cilium-agent "ciliate/cilium-agent:$VERSION" -entrypoint /cilium-agent
}

operator_image() {
	mkdir "$WORK/cilium-operator"
	static "$WORK/cilium-operator/cilium-operator" ./cmd/operator
	pack cilium-operator "ciliate/cilium-operator:$VERSION" -entrypoint /cilium-operator -user 65532:65532
}

# --- the variant: what the next release is to a running datapath, other instructions over the same maps ---

variant_image() {
	local source=$WORK/source programs=internal/datapath/bpfgen
	need clang-19 clang-19
	mkdir "$source"
	(cd "$REPO" && git ls-files -z | xargs -0 cp --parents -t "$source")
	sed -i 's/ -O2 / -Os /' "$source/$programs/gen.go"
	(cd "$source" && go generate "./$programs")
	! cmp -s "$REPO/$programs/pod_bpfel.o" "$source/$programs/pod_bpfel.o" || die "the variant's programs are the same"
	REPO=$source VERSION=variant
	agent_image
}

main() {
	[ $# -ge 1 ] || die "usage: build.sh OUT_DIR [test|product|variant|conformance]"
	command -v go >/dev/null || die "go is missing: install Go 1.26.6 or newer"
	mkdir -p "$1"
	OUT=$(cd "$1" && pwd)
	WORK=$(mktemp -d "$OUT/.work-XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	(cd "$REPO" && CGO_ENABLED=0 go build -trimpath -o "$WORK/mkimage" ./hack/image)
	case ${2:-all} in
	test) test_images ;;
	product)
		agent_image
		operator_image
		;;
	variant) variant_image ;;
	conformance) conformance_images ;;
	all)
		test_images
		agent_image
		operator_image
		;;
	*) die "\"$2\" is none of test, product, variant, conformance" ;;
	esac
}

main "$@"
