// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func podIP(ip string) corev1.PodIP { return corev1.PodIP{IP: ip} }

// Whatever fails, and wherever the agent is killed: the end is what the objects say.
func TestTrouble(t *testing.T) {
	tests := map[string][]trouble{
		"no device, twice":               {{"EnsureInterface", 1, fails}, {"EnsureInterface", 2, fails}},
		"no entries, twice":              {{"EnsureEndpoint", 1, fails}, {"EnsureEndpoint", 2, fails}},
		"no end, twice":                  {{"RemoveEndpoint", 1, fails}, {"RemoveEndpoint", 2, fails}},
		"no removal of the device":       {{"DeleteInterface", 1, fails}},
		"no rows":                        {{"PutRoutes", 1, fails}, {"PutRoutes", 2, fails}, {"DeleteRoutes", 1, fails}},
		"no taking over":                 {{"SyncRoutes", 1, fails}, {"SyncIdentities", 1, fails}, {"Endpoints", 1, fails}},
		"no node at first":               {{"EnsureNode", 1, fails}, {"EnsureNode", 2, fails}},
		"killed before the device":       {{"EnsureInterface", 1, diesBefore}},
		"killed after the device":        {{"EnsureInterface", 1, diesAfter}},
		"killed before the entries":      {{"EnsureEndpoint", 1, diesBefore}},
		"killed after the entries":       {{"EnsureEndpoint", 1, diesAfter}},
		"killed before the end":          {{"RemoveEndpoint", 1, diesBefore}},
		"killed after the end":           {{"RemoveEndpoint", 1, diesAfter}},
		"no status, twice":               {{statusWrite, 1, fails}, {statusWrite, 2, fails}},
		"no release, twice":              {{release, 1, fails}, {release, 2, fails}},
		"killed before the status":       {{statusWrite, 1, diesBefore}},
		"killed after the status":        {{statusWrite, 1, diesAfter}},
		"killed before the release":      {{release, 1, diesBefore}},
		"killed after the release":       {{release, 1, diesAfter}},
		"killed before the device's end": {{"DeleteInterface", 1, diesBefore}},
		"killed after the device's end":  {{"DeleteInterface", 1, diesAfter}},
	}
	for name, troubles := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t).known()
			first := n.start(troubles...)
			first.ready()
			dies := troubles[0].Kind != fails
			whileAdding := strings.HasPrefix(troubles[0].Method, "Ensure") || troubles[0].Method == statusWrite
			p := n.pod("trouble").add()
			if dies && whileAdding {
				first.died()
				n.start().ready()
			}
			p.await("True/Ready")
			p.dial(p.get().Status.Addresses[0].IP)
			p.del()
			if dies && !whileAdding {
				first.died()
				n.start().ready()
			}
			p.gone()
			n.nothingLeft()
			// The name is free again.
			p.newSandbox("trouble-2")
			p.add()
			p.await("True/Ready")
		})
	}
}

func TestAPIServerIsAway(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	stays, goes := n.pod("stays").add(), n.pod("goes").add()
	stays.await("True/Ready")
	goes.await("True/Ready")
	server := theCluster.env.ControlPlane.GetAPIServer()
	killAPIServer(t)
	if err := server.Stop(); err != nil { // it only notes that the process has ended
		t.Fatal(err)
	}
	goes.del()
	eventually(t, func() error {
		if goes.device() != nil {
			return errors.New("the device of a pod that is gone waits for the API server")
		}
		return nil
	})
	goes.closeSandbox()
	stays.dial(stays.cep4())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	goes.gone()
	fresh := n.pod("fresh").add()
	fresh.await("True/Ready")
	t.Logf("all was well %s after the API server was back", time.Since(begin).Round(time.Millisecond))
	if stays.ready() != "True/Ready" || stays.device() == nil {
		t.Errorf("Ready of the pod that stays is %q", stays.ready())
	}
	n.wrote("ciliumendpoints", "stays", map[string]int{"create": 1, "update status": 1})
}

// killAPIServer ends it at once: told to stop, it would wait for its watchers for a minute.
func killAPIServer(t *testing.T) {
	t.Helper()
	own := strconv.Itoa(os.Getpid())
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range processes {
		// pid (name) state parent …
		stat, _ := os.ReadFile(file)
		fields := strings.Fields(string(stat))
		if len(fields) < 4 || fields[1] != "(kube-apiserver)" || fields[3] != own {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if err := syscall.Kill(pid, 0); err == nil {
				return fmt.Errorf("the API server %d is still there", pid)
			}
			return nil
		})
		return
	}
	t.Fatal("the API server's process was not found")
}

// cep4 is the pod's IPv4 address as the kernel has it: the API may be away.
func (p *pod) cep4() string {
	t := p.node.t
	t.Helper()
	observed, err := p.node.kernel().Endpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range observed {
		if o.UID == string(p.cep.UID) {
			return o.Addrs[0].String()
		}
	}
	t.Fatalf("the kernel does not have %s", p.name)
	return ""
}

func TestManyAtOnce(t *testing.T) {
	const many = 50
	n := newNode(t).known()
	n.start().ready()
	var pods []*pod
	for i := range many {
		pods = append(pods, n.pod(fmt.Sprintf("many-%d", i)))
	}
	begin := time.Now()
	done := make(chan struct{}, many)
	for _, p := range pods {
		go func() { p.add(); done <- struct{}{} }()
	}
	for range many {
		<-done
	}
	created := time.Since(begin)
	for _, p := range pods {
		p.await("True/Ready")
	}
	t.Logf("%d endpoints were created after %s and Ready after %s", many, created.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	seen := map[string]string{}
	for _, p := range pods {
		for _, a := range p.get().Status.Addresses {
			if other := seen[a.IP]; other != "" {
				t.Errorf("%s and %s have the address %s", p.name, other, a.IP)
			}
			seen[a.IP] = p.name
		}
	}
	begin = time.Now()
	for _, p := range pods {
		p.del()
	}
	for _, p := range pods {
		p.gone()
	}
	t.Logf("all were gone after %s", time.Since(begin).Round(time.Millisecond))
	n.nothingLeft()
}
