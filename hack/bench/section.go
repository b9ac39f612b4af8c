// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// section is one part of docs/performance.md. A comment on each side marks it, so that one part can be measured again
// without the others.
type section struct {
	part  part
	lines []string
}

func newSection(p part) *section {
	s := &section{part: p}
	s.say("## %s", p.title)
	s.say("")
	s.say("`hack/bench/bench.sh %s`", p.name)
	return s
}

// say adds a line.
func (s *section) say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// table adds a table; the first row is its head.
func (s *section) table(rows ...[]string) {
	s.say("")
	for i, row := range rows {
		s.say("| %s |", strings.Join(row, " | "))
		if i == 0 {
			s.say("|%s", strings.Repeat(" --- |", len(row)))
		}
	}
	s.say("")
}

func (s *section) text() string { return strings.Join(s.lines, "\n") + "\n" }

func (s *section) begin() string { return "<!-- part " + s.part.name + " -->\n" }
func (s *section) end() string   { return "<!-- end " + s.part.name + " -->\n" }

// write replaces the section in the document, and the head, which every part refreshes.
func (s *section) write(path string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the document: %w", err)
	}
	machine, err := head()
	if err != nil {
		return err
	}
	var doc strings.Builder
	doc.WriteString(machine)
	for _, p := range parts() {
		at := &section{part: p}
		body := cut(string(old), at.begin(), at.end())
		if p.name == s.part.name {
			body = s.text()
		}
		if body != "" {
			doc.WriteString("\n" + at.begin() + body + at.end())
		}
	}
	if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

// cut is what stands between two marks; empty if they are not there.
func cut(text, begin, end string) string {
	_, rest, _ := strings.Cut(text, begin)
	body, _, found := strings.Cut(rest, end)
	if !found {
		return ""
	}
	return body
}

// head says what was measured, on what, and how.
func head() (string, error) {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", fmt.Errorf("read the kernel's version: %w", err)
	}
	version, _, _ := strings.Cut(string(kernel), "-")
	return fmt.Sprintf(`# Performance

Written by `+"`make bench`"+`; do not edit. Machine: %s, %d processors, %s of memory, kernel %s, %s. Control plane, two nodes and the load
share it: etcd, kube-apiserver and the rest of [hack/cluster](../hack/cluster/README.md). Every request is TLS, the admission
policy on the agents is in force, etcd runs without fsync. Cilium's figures are those of version 1.20.2 on the same kind of
machine when it was quiet, tunnel mode, IPv4 alone; Ciliate gives every pod IPv4 and IPv6.

"met" and "not met" are said of the figure beside them and nothing else. Times and rates suffer from whatever else runs: each
part says the load average while it ran, and above the number of processors others were at work. Processor times and memory
hardly suffer.
`, cpuModel(), runtime.NumCPU(), memoryTotal(), strings.TrimSpace(version), runtime.Version()), nil
}

func cpuModel() string { return field("/proc/cpuinfo", "model name") }

func memoryTotal() string {
	var kib int
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return "an unknown amount"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

// field is the value of the first line "name: value" of a file.
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// verdict says whether an aim is met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**not met**"
}
