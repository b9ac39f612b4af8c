// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command reasons reads enum drop_reason from bpf/lib/types.h and writes its Go names and its page of documentation.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"regexp"
	"strings"
)

// reason is one line of the enum.
type reason struct {
	name, number, sentence string
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: reasons types.h reasons.go drop-reasons.md")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "reasons:", err)
		os.Exit(1)
	}
}

func run(header, goFile, docFile string) error {
	text, err := os.ReadFile(header)
	if err != nil {
		return err
	}
	reasons, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("read %s: %w", header, err)
	}
	code, err := format.Source(goSource(reasons))
	if err != nil {
		return fmt.Errorf("format %s: %w", goFile, err)
	}
	if err := os.WriteFile(goFile, code, 0o644); err != nil {
		return err
	}
	return os.WriteFile(docFile, document(reasons), 0o644)
}

// parse returns the enum's lines in their order, without the end mark.
func parse(header string) ([]reason, error) {
	_, rest, ok := strings.Cut(header, "enum drop_reason {\n")
	if !ok {
		return nil, fmt.Errorf("no enum drop_reason")
	}
	body, _, _ := strings.Cut(rest, "\n};")
	entry := regexp.MustCompile(`^\t/\* (.+\.) \*/\n\t([A-Z0-9_]+) = (\d+)$`)
	var reasons []reason
	for text := range strings.SplitSeq(body, ",\n") {
		m := entry.FindStringSubmatch(strings.TrimSuffix(text, ","))
		if m == nil {
			return nil, fmt.Errorf("%q is not /* Sentence. */ and NAME = number", text)
		}
		if m[2] != "DROP_REASON_MAX" {
			reasons = append(reasons, reason{name: m[2], number: m[3], sentence: m[1]})
		}
	}
	return reasons, nil
}

func goSource(reasons []reason) []byte {
	var b bytes.Buffer
	b.WriteString("// SPDX-License-Identifier: Apache-2.0\n// Copyright Authors of Ciliate\n\n")
	b.WriteString("// Code generated from bpf/lib/types.h; DO NOT EDIT.\n\npackage bpfgen\n\nimport \"strconv\"\n\n")
	b.WriteString("// Reason is why a packet was dropped, or how it was not.\ntype Reason uint8\n\n// The reasons.\nconst (\n")
	for _, r := range reasons {
		fmt.Fprintf(&b, "\t// %s: %s\n\t%s Reason = %s\n", goName(r.name), r.sentence, goName(r.name), r.number)
	}
	b.WriteString(")\n\n// String is the name by which metrics and flows call it.\nfunc (r Reason) String() string {\n\tswitch r {\n")
	for _, r := range reasons {
		fmt.Fprintf(&b, "\tcase %s:\n\t\treturn %q\n", goName(r.name), spoken(r.name))
	}
	b.WriteString("\t}\n\treturn \"REASON_\" + strconv.Itoa(int(r))\n}\n")
	return b.Bytes()
}

func document(reasons []reason) []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Generated from bpf/lib/types.h; do not edit. -->\n# Drop reasons\n\n")
	b.WriteString("Numbers up to 203 equal those of Hubble's `flow.DropReason`; those above 220 are our own.\n\n")
	b.WriteString("| number | name | what happened |\n|---|---|---|\n")
	for _, r := range reasons {
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", r.number, spoken(r.name), r.sentence)
	}
	return b.Bytes()
}

// spoken is the name outside of the code; those that are no drops are in small letters.
func spoken(name string) string {
	if drop, found := strings.CutPrefix(name, "DROP_"); found {
		return drop
	}
	return strings.ToLower(name)
}

// goName turns INVALID_SOURCE_IP into DropInvalidSourceIP.
func goName(name string) string {
	var out strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		switch word {
		case "MAC", "IP", "DHCP", "VNI", "VLAN":
			out.WriteString(word)
		default:
			out.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return out.String()
}
