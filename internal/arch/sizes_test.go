// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package arch

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Past these one does not read a thing but searches it. They are where a reviewer must look again, not aims.
const (
	maxFileLines     = 450
	maxTestFileLines = 600
	maxFuncLines     = 60
	maxParameters    = 5
)

// TestFilesFitAnEye looks at hand-written Go alone; a linter counts branches.
func TestFilesFitAnEye(t *testing.T) {
	for path, content := range files(t, ".go") {
		limit := maxFileLines
		if strings.HasSuffix(path, "_test.go") {
			limit = maxTestFileLines
		}
		if lines := bytes.Count(content, []byte("\n")); lines > limit && !generated(content) {
			t.Errorf("%s has %d lines, %d are enough", path, lines, limit)
		}
	}
}

// TestFunctionsFitAnEye leaves tests out: a table is long and still clear.
func TestFunctionsFitAnEye(t *testing.T) {
	for path, content := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") || forTests(filepath.ToSlash(path)) || generated(content) {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, content, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse %s: %v", path, err)
			continue
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				checkFunction(t, path, set, f)
			}
		}
	}
}

func checkFunction(t *testing.T, path string, set *token.FileSet, f *ast.FuncDecl) {
	t.Helper()
	if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > maxFuncLines {
		t.Errorf("%s: %s has %d lines, %d are enough", path, f.Name.Name, lines, maxFuncLines)
	}
	if n := f.Type.Params.NumFields(); n > maxParameters {
		t.Errorf("%s: %s has %d parameters; more than %d belong in a struct", path, f.Name.Name, n, maxParameters)
	}
}

// TestLicence: the first lines of every file that a person wrote name licence and owner.
func TestLicence(t *testing.T) {
	for path, content := range files(t, ".go", ".c", ".h", ".sh", ".yaml", ".lua") {
		if generated(content) {
			continue
		}
		want := "SPDX-License-Identifier: Apache-2.0"
		if ext := filepath.Ext(path); (strings.HasPrefix(path, "bpf/") || strings.HasPrefix(path, "hack/bench/")) && (ext == ".c" || ext == ".h") {
			want = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
		}
		head := firstLines(content, 4)
		if !strings.Contains(head, want) || !strings.Contains(head, "Copyright Authors of Ciliate") {
			t.Errorf("%s must begin with %q and \"Copyright Authors of Ciliate\"", path, want)
		}
	}
}

// generated: by Go's convention, or controller-gen's YAML, which begins with a document mark.
func generated(content []byte) bool {
	head := firstLines(content, 12)
	return strings.Contains(head, "Code generated") || strings.HasPrefix(head, "---\napiVersion")
}

func firstLines(content []byte, n int) string {
	var lines []string
	for s := bufio.NewScanner(bytes.NewReader(content)); len(lines) < n && s.Scan(); {
		lines = append(lines, s.Text())
	}
	return strings.Join(lines, "\n")
}

// files is the content, by path from the root, of every file with one of the endings.
func files(t *testing.T, endings ...string) map[string][]byte {
	t.Helper()
	root := "../.."
	found := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "testdata"}, name) {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(endings, filepath.Ext(name)) {
			return nil
		}
		content, err := os.ReadFile(path)
		relative, _ := filepath.Rel(root, path)
		found[relative] = content
		return err
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	return found
}
