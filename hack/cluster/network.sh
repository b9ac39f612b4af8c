# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# The wires. The machine's own namespace gets no address, route or link: every veth is made inside "fabric" with
# its other end straight in the namespace it serves. Every step may be repeated: an up that was killed is carried on.

ensure_ns() { # NAME
	[ -z "$(ip -n "$(ns "$1")" link show lo up 2>/dev/null)" ] || return 0
	if ! in_ns "$1" true 2>/dev/null; then
		rm -f "$(netns "$1")" # a name whose namespace is gone is only a file
		ip netns add "$(ns "$1")"
	fi
	# Addresses are given out by hand here: detecting duplicates would only delay them by a second.
	in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
		net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 \
		net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	ip -n "$(ns "$1")" link set lo up # last: it says that the rest is done
}

# fabric: the switch between nodes, and a router between them and the world. It knows no pod address.
ensure_fabric() {
	local f
	f=$(ns fabric)
	ensure_ns fabric
	in_ns fabric sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	# Without a querier, snooping would forget who asked for neighbour solicitations.
	ip -n "$f" link show br0 >/dev/null 2>&1 ||
		ip -n "$f" link add br0 address 02:00:ac:12:00:01 type bridge mcast_snooping 0
	ip -n "$f" link set br0 up
	ip -n "$f" addr replace "$UNDERLAY4.1/24" dev br0
	ip -n "$f" addr replace "$UNDERLAY6:1/64" dev br0 nodad
}

# cable NAME NUMBER SEGMENT4 SEGMENT6: eth0 of a namespace, with the far end p-NAME in fabric, and its way out.
cable() {
	local f at n=$2 mac
	f=$(ns fabric) at=$(ns "$1")
	mac=$(printf '02:00:ac:12:01:%02x' "$n") # a card keeps its address when the machine reboots
	if ! ip -n "$at" link show eth0 >/dev/null 2>&1; then
		ip -n "$f" link del "p-$1" 2>/dev/null || true # a dying namespace keeps its end for a moment
		ip -n "$f" link add "p-$1" type veth peer name eth0 address "$mac" netns "$at"
	fi
	ip -n "$f" link set "p-$1" up
	ip -n "$at" link set eth0 up
	ip -n "$at" addr replace "$3.$n/24" dev eth0
	ip -n "$at" addr replace "$4:$n/64" dev eth0 nodad
	ip -n "$at" route replace default via "$3.1" dev eth0
	ip -n "$at" -6 route replace default via "$4:1" dev eth0
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
	ip -n "$f" addr replace "$WORLD4.1/24" dev p-world
	ip -n "$f" addr replace "$WORLD6:1/64" dev p-world nodad
}

drop_ns() { # NAME: its end in fabric too, at once, where the kernel would take a moment
	ip -n "$(ns fabric)" link del "p-$1" 2>/dev/null || true
	[ ! -e "$(netns "$1")" ] || ip netns del "$(ns "$1")"
}
