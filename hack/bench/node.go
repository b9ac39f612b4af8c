// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// bpffs is the agent's folder on a node.
const bpffs = "/sys/fs/bpf/ciliate"

// tick is the unit of times in /proc: a hundredth of a second on every architecture.
const tick = 10 * time.Millisecond

// pid1 is the node's first process as the machine numbers it.
func (c *cluster) pid1(ctx context.Context, node string) (int, error) {
	cmd := exec.CommandContext(ctx, "bash", "-c", `. "$0"/hack/cluster/lib.sh && node_pid1 "$1"`, c.repo, node)
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("find the first process of %s: %w", node, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, fmt.Errorf("the first process of %s: %w", node, err)
	}
	return pid, nil
}

// root is the node's file system as the machine sees it.
func (c *cluster) root(ctx context.Context, node string) (string, error) {
	pid, err := c.pid1(ctx, node)
	return fmt.Sprintf("/proc/%d/root", pid), err
}

// process is one process of a node.
type process struct {
	pid int
	// started is by the machine's clock, to a hundredth of a second.
	started time.Time
	// rss and anonymous are in bytes.
	rss, anonymous int
	// cpu is the processor time that it has taken.
	cpu time.Duration
}

// find returns the processes of that name in the node's own network namespace, but for those that install.
func (c *cluster) find(ctx context.Context, node, name string) ([]process, error) {
	first, err := c.pid1(ctx, node)
	if err != nil {
		return nil, err
	}
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", first))
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, path := range names {
		dir := filepath.Dir(path)
		comm, _ := os.ReadFile(path) // it may have ended meanwhile
		args, _ := os.ReadFile(dir + "/cmdline")
		have, _ := os.Readlink(dir + "/ns/net")
		if strings.TrimSpace(string(comm)) != name || have != want || strings.Contains(string(args), "install") {
			continue
		}
		p, err := newProcess(dir)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

func newProcess(dir string) (p process, err error) {
	if p.pid, err = strconv.Atoi(filepath.Base(dir)); err != nil {
		return p, err
	}
	for name, value := range map[string]*int{"VmRSS": &p.rss, "RssAnon": &p.anonymous} {
		if _, err := fmt.Sscanf(field(dir+"/status", name), "%d kB", value); err != nil {
			return p, fmt.Errorf("read %s of process %d: %w", name, p.pid, err)
		}
		*value <<= 10
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, fmt.Errorf("read process %d: %w", p.pid, err)
	}
	// The name may hold blanks; what follows it does not. The start is field 22, the first after the name field 3.
	after := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := strconv.Atoi(after[19])
	if err != nil {
		return p, fmt.Errorf("read the start of process %d: %w", p.pid, err)
	}
	for _, field := range after[11:13] { // for itself, and in the kernel
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return p, fmt.Errorf("read the processor time of process %d: %w", p.pid, err)
		}
		p.cpu += time.Duration(ticks) * tick
	}
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		return p, fmt.Errorf("ask for the time since boot: %w", err)
	}
	p.started = time.Now().Add(time.Duration(ticks)*tick - time.Duration(sinceBoot.Nano()))
	return p, nil
}

// programs are those that the node's agent has loaded, by name.
func (c *cluster) programs(ctx context.Context, node string) (map[string]*ebpf.Program, error) {
	root, err := c.root(ctx, node)
	if err != nil {
		return nil, err
	}
	pins, err := filepath.Glob(root + bpffs + "/programs/*")
	if err != nil || len(pins) == 0 {
		return nil, errors.Join(fmt.Errorf("no programs are pinned on %s", node), err)
	}
	all := map[string]*ebpf.Program{}
	for _, pin := range pins {
		name, _, _ := strings.Cut(filepath.Base(pin), "-")
		if all[name], err = ebpf.LoadPinnedProgram(pin, nil); err != nil {
			return nil, fmt.Errorf("open program %s: %w", name, err)
		}
	}
	return all, nil
}
