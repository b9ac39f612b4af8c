// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// settings is a table for each exported struct in the Go files of dir: its keys in a file, and its comments.
func settings(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Process settings\n\nWhat belongs to one process, in the ConfigMaps of config/manager; what belongs to the cluster is in\n" +
		"CiliumConfig ([api.md](api.md)). A changed setting needs a restart of the pods. Unknown keys are errors.\n")
	slices.Sort(paths)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return "", err
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				table(&b, g)
			}
		}
	}
	return b.String(), nil
}

func table(b *strings.Builder, decl *ast.GenDecl) {
	spec, _ := decl.Specs[0].(*ast.TypeSpec)
	s, ok := spec.Type.(*ast.StructType)
	if !ok || !spec.Name.IsExported() {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| key | meaning |\n|---|---|\n", spec.Name, line(decl.Doc.Text()))
	for _, f := range s.Fields.List {
		if name := key(f); name != "" {
			_, doc, _ := strings.Cut(line(f.Doc.Text()), " ")
			fmt.Fprintf(b, "| `%s` | %s |\n", name, doc)
		}
	}
}

// key is the JSON name; fields that no file can set have none.
func key(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return strings.TrimPrefix(name, "-")
}
