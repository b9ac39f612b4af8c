// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package bpfgen holds the compiled datapath: programs, maps and the structs they share with Go, generated from bpf/ by a
// pinned clang and committed, so that neither a build nor a node needs one. Nobody edits it; entry points are LoadPod,
// LoadOverlay, LoadNetdev, LoadXdp, LoadSock and LoadConntrack.
package bpfgen

//go:generate go run ./reasons ../../../bpf/lib/types.h reasons.go ../../../docs/reference/drop-reasons.md
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem pod -type endpoint -type endpoint_if -type ipcache_entry -type cidr_key -type fragment_key -type fragment_ports -type metric -type node_config -type tuple -type connection -type card Pod ../../../bpf/pod.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem overlay Overlay ../../../bpf/overlay.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem netdev -type announcement_key -type announcement Netdev ../../../bpf/netdev.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem xdp -type wire Xdp ../../../bpf/xdp.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem conntrack Conntrack ../../../bpf/conntrack.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem sock -type peer -type frontend_key -type frontend -type backend_key -type reverse_key -type affinity_key -type affinity -type source_range_key Sock ../../../bpf/sock.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu

// Structs are the same in every object and hence have one name here.
type (
	// Endpoint is struct endpoint.
	Endpoint = PodEndpoint
	// EndpointIf is struct endpoint_if.
	EndpointIf = PodEndpointIf
	// IpcacheEntry is struct ipcache_entry.
	IpcacheEntry = PodIpcacheEntry
	// CIDRKey is struct cidr_key.
	CIDRKey = PodCidrKey
	// FragmentKey is struct fragment_key.
	FragmentKey = PodFragmentKey
	// FragmentPorts is struct fragment_ports.
	FragmentPorts = PodFragmentPorts
	// Metric is struct metric.
	Metric = PodMetric
	// NodeConfig is struct node_config.
	NodeConfig = PodNodeConfig
	// Tuple is struct tuple.
	Tuple = PodTuple
	// Connection is struct connection.
	Connection = PodConnection
	// Card is struct card.
	Card = PodCard
	// Wire is struct wire.
	Wire = XdpWire
	// Peer is struct peer.
	Peer = SockPeer
	// FrontendKey is struct frontend_key.
	FrontendKey = SockFrontendKey
	// Frontend is struct frontend.
	Frontend = SockFrontend
	// BackendKey is struct backend_key.
	BackendKey = SockBackendKey
	// ReverseKey is struct reverse_key.
	ReverseKey = SockReverseKey
	// AffinityKey is struct affinity_key.
	AffinityKey = SockAffinityKey
	// SourceRangeKey is struct source_range_key.
	SourceRangeKey = SockSourceRangeKey
	// Affinity is struct affinity.
	Affinity = SockAffinity
	// AnnouncementKey is struct announcement_key.
	AnnouncementKey = NetdevAnnouncementKey
	// Announcement is struct announcement.
	Announcement = NetdevAnnouncement
)

// Bytes are the compiled objects, for telling one build from another.
func Bytes() [][]byte {
	return [][]byte{_PodBytes, _OverlayBytes, _NetdevBytes, _XdpBytes, _SockBytes, _ConntrackBytes}
}
