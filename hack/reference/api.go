// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

type schema = apiextensionsv1.JSONSchemaProps

// api is a section for each CRD in dir: what it is, its columns, its fields, its rules.
func api(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# API: cilium.io/v1alpha1\n\nWho writes which part is in [architecture.md](../architecture.md).\n" +
		"A star marks a required field.\n")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &crd); err != nil {
			return "", fmt.Errorf("parse %s: %w", path, err)
		}
		kind(&b, crd)
	}
	return b.String(), nil
}

func kind(b *strings.Builder, crd apiextensionsv1.CustomResourceDefinition) {
	names, version := crd.Spec.Names, crd.Spec.Versions[0]
	root := version.Schema.OpenAPIV3Schema
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", names.Kind, line(root.Description))
	fmt.Fprintf(b, "%s; `kubectl get %s`", crd.Spec.Scope, strings.Join(append([]string{names.Plural}, names.ShortNames...), "`, `"))
	var columns []string
	for _, c := range version.AdditionalPrinterColumns {
		columns = append(columns, c.Name+map[bool]string{true: " (wide)"}[c.Priority > 0])
	}
	fmt.Fprintf(b, "; columns: %s.\n", strings.Join(columns, ", "))
	rules(b, "the object", root)
	b.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	for _, part := range []string{"spec", "status"} {
		if s, ok := root.Properties[part]; ok {
			field(b, part, s, slices.Contains(root.Required, part))
		}
	}
}

// field writes the row of one field and of all below it.
func field(b *strings.Builder, path string, s schema, required bool) {
	fmt.Fprintf(b, "| `%s`%s | %s | %s |\n", path, map[bool]string{true: " *"}[required], typeOf(s), meaning(s))
	// The parts of a condition are Kubernetes' own.
	if strings.HasSuffix(path, ".conditions") {
		return
	}
	below := s
	if s.Items != nil && s.Items.Schema != nil {
		below, path = *s.Items.Schema, path+"[]"
	}
	for _, name := range slices.Sorted(maps.Keys(below.Properties)) {
		field(b, path+"."+name, below.Properties[name], slices.Contains(below.Required, name))
	}
}

func typeOf(s schema) string {
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, "`"+strings.Trim(string(v.Raw), `"`)+"`")
		}
		return strings.Join(values, ", ")
	case s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(*s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(*s.AdditionalProperties.Schema)
	case s.Format != "" && s.Type == "string":
		return s.Format
	}
	return s.Type
}

func meaning(s schema) string {
	text := line(s.Description)
	var b strings.Builder
	rules(&b, "", &s)
	if b.Len() > 0 {
		text += " Rules:" + strings.TrimRight(strings.ReplaceAll(b.String(), "\n", ""), ";") + "."
	}
	return text
}

// rules lists what the API server refuses, in the words in which it does.
func rules(b *strings.Builder, of string, s *schema) {
	for i, v := range s.XValidations {
		switch {
		case of == "":
			fmt.Fprintf(b, " %s;", v.Message)
		case i == 0:
			fmt.Fprintf(b, "\nRules for %s:\n\n- %s\n", of, v.Message)
		default:
			fmt.Fprintf(b, "- %s\n", v.Message)
		}
	}
}

// line makes text fit a cell of a table.
func line(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
