// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command cilium-cni is the thin CNI plugin: it writes a CiliumEndpoint for each sandbox, waits until the node's agent
// has served it, and hands the agent's answer to the container runtime. It refuses to do any networking itself: no
// netlink, no routes, no eBPF. Every rule it follows stands in the pod's life: the tombstone before each deletion, the
// UID in each, and no success without a Ready that belongs to this very sandbox.
//
// One CNI verb a file; client.go speaks to the apiserver, wait.go watches one object.
package main

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

// plugin is what the verbs need of the world around them, so that a test can replace it.
type plugin struct {
	stdout     io.Writer
	log        io.Writer
	now        func() time.Time
	random     func() float64
	link       func(name string) (*net.Interface, error)
	bootIDPath string
	timing     timing
}

// timing holds every limit on time.
type timing struct {
	add     time.Duration // the whole of ADD; below the four minutes after which the kubelet gives up
	check   time.Duration
	gc      time.Duration
	request time.Duration // one request that is not a watch
	watch   time.Duration // one watch: a connection that died without a word is noticed after this long
	// forbidden is how long ADD takes a 403 for a passing one. An apiserver that has just started answers so until it has
	// read the roles, for a second or two; who is really forbidden it shall know before the kubelet's patience ends.
	forbidden time.Duration
	backoff   time.Duration // the first pause after a failure; it doubles up to backoffLimit
	limit     time.Duration // the longest pause
	silence   time.Duration // how long an agent may be away before STATUS complains
}

func newPlugin() *plugin {
	return &plugin{
		stdout:     os.Stdout,
		log:        os.Stderr,
		now:        time.Now,
		random:     rand.Float64,
		link:       net.InterfaceByName,
		bootIDPath: "/proc/sys/kernel/random/boot_id",
		timing: timing{
			add:       90 * time.Second,
			check:     10 * time.Second,
			gc:        30 * time.Second,
			request:   10 * time.Second,
			watch:     15 * time.Second,
			forbidden: 10 * time.Second,
			backoff:   50 * time.Millisecond,
			limit:     2 * time.Second,
			silence:   120 * time.Second,
		},
	}
}

func main() {
	// The plugin waits for one thing after another. Each further processor has its own caches of memory, its own threads
	// and their wake-ups, and a process of milliseconds pays for little else than the pages that it touches first.
	runtime.GOMAXPROCS(1)
	p := newPlugin()
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    p.add,
		Del:    p.del,
		Check:  p.check,
		Status: p.status,
		GC:     p.gc,
	}, version.All, "CNI plugin cilium-cni")
}
