// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"hash/fnv"
	"iter"
)

// The reserved identities. They mean the same on every node and have no object.
const (
	Unknown       uint32 = 0
	Host          uint32 = 1
	World         uint32 = 2
	Unmanaged     uint32 = 3
	Health        uint32 = 4
	Init          uint32 = 5
	RemoteNode    uint32 = 6
	KubeAPIServer uint32 = 7
	Ingress       uint32 = 8
	WorldIPv4     uint32 = 9
	WorldIPv6     uint32 = 10
)

// The range of the numbers that the operator gives to label sets, and the bit that marks an identity as meaning
// something on its own node only.
const (
	MinAllocated uint32 = 256
	MaxAllocated uint32 = 65535
	LocalScope   uint32 = 1 << 24
)

// Allocatable is how many numbers there are to give.
const Allocatable = int(MaxAllocated - MinAllocated + 1)

// Candidates are the numbers to try for the label set of this key, each allocatable number once, best first. Two
// operators that have never heard of each other start with the same one.
func Candidates(key string) iter.Seq[uint32] {
	h := fnv.New64a()
	h.Write([]byte(key)) // A hash never fails to write.
	start := h.Sum64() % uint64(Allocatable)
	return func(yield func(uint32) bool) {
		for i := range uint64(Allocatable) {
			if !yield(MinAllocated + uint32((start+i)%uint64(Allocatable))) {
				return
			}
		}
	}
}
