# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# The wires. The machine's own namespace gets no address, route or link: every veth is made inside "fabric" with
# its other end straight in the namespace it serves.

ensure_ns() { # NAME
	in_ns "$1" true 2>/dev/null && return
	# A name whose namespace is gone (machine rebooted, up killed) is only a file.
	rm -f "$(netns "$1")"
	ip netns add "$(ns "$1")"
	# Addresses are given out by hand here: detecting duplicates would only delay them by a second.
	in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
		net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 \
		net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	ip -n "$(ns "$1")" link set lo up
}

# fabric: the switch between nodes, and a router between them and the world. It knows no pod address.
ensure_fabric() {
	local f
	f=$(ns fabric)
	ensure_ns fabric
	in_ns fabric sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	ip -n "$f" link show br0 >/dev/null 2>&1 && return
	# Without a querier, snooping would forget who asked for neighbour solicitations.
	ip -n "$f" link add br0 type bridge mcast_snooping 0
	ip -n "$f" link set br0 address 02:00:ac:12:00:01 up
	ip -n "$f" addr add "$UNDERLAY4.1/24" dev br0
	ip -n "$f" addr add "$UNDERLAY6:1/64" dev br0 nodad
}

# cable NAME NUMBER SEGMENT4 SEGMENT6: eth0 of a namespace, with the far end p-NAME in fabric, and its way out.
cable() {
	local f n=$2
	f=$(ns fabric)
	in_ns "$1" ip link show eth0 >/dev/null 2>&1 && return
	ip -n "$f" link del "p-$1" 2>/dev/null || true # a dying namespace keeps its end for a moment
	ip -n "$f" link add "p-$1" type veth peer name eth0 netns "$(ns "$1")"
	# A card keeps its address when the machine reboots.
	ip -n "$(ns "$1")" link set eth0 address "$(printf '02:00:ac:12:01:%02x' "$n")" up
	ip -n "$(ns "$1")" addr add "$3.$n/24" dev eth0
	ip -n "$(ns "$1")" addr add "$4:$n/64" dev eth0 nodad
	ip -n "$f" link set "p-$1" up
	ip -n "$(ns "$1")" route add default via "$3.1"
	ip -n "$(ns "$1")" -6 route add default via "$4:1"
}

ensure_host() { # NAME NUMBER: a member of the underlay
	ensure_ns "$1"
	cable "$1" "$2" "$UNDERLAY4" "$UNDERLAY6"
	ip -n "$(ns fabric)" link set "p-$1" master br0
}

# world: beyond the router, on a segment of its own. It has nothing but a default route, and fabric has no route to
# pods, so an answer from it proves that the asker's address was a node's.
ensure_world() {
	local f
	f=$(ns fabric)
	ensure_ns world
	cable world 2 "$WORLD4" "$WORLD6"
	ip -n "$f" addr show dev p-world | grep -q "$WORLD4.1/" && return
	ip -n "$f" addr add "$WORLD4.1/24" dev p-world
	ip -n "$f" addr add "$WORLD6:1/64" dev p-world nodad
}

drop_ns() { # NAME: its end in fabric too, at once, where the kernel would take a moment
	ip -n "$(ns fabric)" link del "p-$1" 2>/dev/null || true
	[ ! -e "$(netns "$1")" ] || ip netns del "$(ns "$1")"
}
