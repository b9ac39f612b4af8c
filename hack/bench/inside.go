// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netns"
)

// helpers run inside a node, in all its namespaces; they are told in JSON and answer in JSON.
func helpers() map[string]func(context.Context, io.Reader, io.Writer) error {
	return map[string]func(context.Context, io.Reader, io.Writer) error{
		"in-node-cni":     helper(executeAll),
		"in-node-first":   helper(executeFirst),
		"in-node-compare": helper(compareWays),
		"in-node-change":  helper(changeEndpoints),
		"in-node-reach":   helper(awaitService),
		"in-node-forget":  helper(forgetConnections),
		"in-node-settled": helper(awaitSettled),
	}
}

func helper[In, Out any](f func(context.Context, In) (Out, error)) func(context.Context, io.Reader, io.Writer) error {
	return func(ctx context.Context, r io.Reader, w io.Writer) error {
		var in In
		if err := json.NewDecoder(r).Decode(&in); err != nil {
			return fmt.Errorf("read what to do: %w", err)
		}
		out, err := f(ctx, in)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(out)
	}
}

// sandbox is what a container runtime knows of a pod.
type sandbox struct {
	Namespace, Pod, UID string
}

func (s sandbox) container() string { return "bench-" + s.UID }
func (s sandbox) netns() string     { return "/run/netns/bench-" + s.UID }

// order is a verb of CNI for some sandboxes, one after another or all at once.
type order struct {
	Verb      string
	Sandboxes []sandbox
	AtOnce    bool
}

// deed is one execution of the plugin. Times are of the machine's clock.
type deed struct {
	Pod        string
	Start, End time.Time
	// CPU is the process's own time.
	CPU time.Duration
}

func (d deed) took() time.Duration { return d.End.Sub(d.Start) }

// executeAll executes the CNI plugin as a container runtime does. Making and removing network namespaces is not counted.
func executeAll(ctx context.Context, o order) ([]deed, error) {
	conf, err := netConf("/etc/cni/net.d/05-cilium.conflist")
	if err != nil {
		return nil, err
	}
	if o.Verb == "ADD" {
		for _, s := range o.Sandboxes {
			if err := makeNetns(s.netns()); err != nil {
				return nil, err
			}
		}
	}
	deeds := make([]deed, len(o.Sandboxes))
	failures := make([]error, len(o.Sandboxes))
	var all sync.WaitGroup
	for i, s := range o.Sandboxes {
		all.Go(func() { deeds[i], failures[i] = execute(ctx, o.Verb, s, conf) })
		if !o.AtOnce {
			all.Wait()
		}
	}
	all.Wait()
	for i, s := range o.Sandboxes {
		if failures[i] != nil {
			return nil, failures[i]
		}
		if o.Verb == "DEL" {
			if err := netns.DeleteNamed(filepath.Base(s.netns())); err != nil {
				return nil, fmt.Errorf("remove %s: %w", s.netns(), err)
			}
		}
	}
	return deeds, nil
}

// executeFirst executes an ADD again and again until it succeeds, as a container runtime would: the agent is just starting.
func executeFirst(ctx context.Context, s sandbox) (deed, error) {
	if err := makeNetns(s.netns()); err != nil {
		return deed{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var d deed
	return d, until(ctx, "the first ADD", func() (bool, error) {
		conf, err := netConf("/etc/cni/net.d/05-cilium.conflist")
		if err == nil {
			d, err = execute(ctx, "ADD", s, conf)
		}
		return err == nil, err
	})
}

func execute(ctx context.Context, verb string, s sandbox, conf []byte) (deed, error) {
	cmd := exec.CommandContext(ctx, "/opt/cni/bin/cilium-cni")
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+s.container(), "CNI_NETNS="+s.netns(),
		"CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		fmt.Sprintf("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
			s.Namespace, s.Pod, s.container(), s.UID))
	cmd.Stdin = bytes.NewReader(conf)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return deed{}, fmt.Errorf("%s of %s: %w: %s", verb, s.Pod, err, strings.TrimSpace(out.String()))
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return deed{Pod: s.Pod, Start: start, End: time.Now(), CPU: cpu}, nil
}

// netConf is what the runtime hands to the plugin: its part of the conflist, with the list's name and version.
func netConf(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CNI configuration: %w", err)
	}
	list := struct {
		CNIVersion string           `json:"cniVersion"`
		Name       string           `json:"name"`
		Plugins    []map[string]any `json:"plugins"`
	}{}
	if err := json.Unmarshal(data, &list); err != nil || len(list.Plugins) == 0 {
		return nil, fmt.Errorf("%s holds no plugin: %w", path, err)
	}
	conf := list.Plugins[0]
	conf["cniVersion"], conf["name"] = list.CNIVersion, list.Name
	return json.Marshal(conf)
}

// makeNetns makes a named network namespace, as containerd does.
func makeNetns(path string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the namespace
		ns, err := netns.NewNamed(filepath.Base(path))
		if err == nil {
			err = ns.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}
