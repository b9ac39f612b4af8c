// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package manifests

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
)

func TestWaves(t *testing.T) {
	got := map[string]string{}
	for key, o := range parse(t, render(t, config+"argocd/sync")) {
		got[key] = o.GetAnnotations()["argocd.argoproj.io/sync-wave"]
	}
	for key, o := range parse(t, render(t, config+"default")) {
		want := map[string]string{"CustomResourceDefinition": "-1", "DaemonSet": "1"}[o.GetKind()]
		if got[key] != want {
			t.Errorf("%s is in wave %q, want %q: kinds, then the operator, then the agents", key, got[key], want)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("config/argocd/sync renders more than config/default: %v", got)
	}
}

func TestApplication(t *testing.T) {
	app := parse(t, render(t, config+"argocd"))["Application/ciliate"]
	if app == nil {
		t.Fatal("the Application is not rendered")
	}
	var spec struct {
		Source     struct{ Path string }
		SyncPolicy struct{ SyncOptions []string }
	}
	data, err := json.Marshal(app.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	equal(t, "namespace", "argocd", app.GetNamespace())
	equal(t, "path", "config/argocd/sync", spec.Source.Path)
	equal(t, "server-side apply", "ServerSideApply=true", spec.SyncPolicy.SyncOptions[0])
}

// TestHealth runs the checks as Argo CD does: the object is the global obj, the result a table with status and message.
func TestHealth(t *testing.T) {
	checks := object[corev1.ConfigMap](t, parse(t, render(t, config+"argocd")), "ConfigMap/argocd-cm").Data
	for name, tc := range healthCases() {
		t.Run(name, func(t *testing.T) {
			script, ok := checks["resource.customizations.health.cilium.io_"+tc.kind]
			if !ok {
				t.Fatalf("no check for %s", tc.kind)
			}
			if diff := cmp.Diff(tc.want, health(t, script, tc.object)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// health is "status: message".
func health(t *testing.T, script, object string) string {
	t.Helper()
	var decoded map[string]any
	if err := json.Unmarshal([]byte(object), &decoded); err != nil {
		t.Fatalf("parse the object: %v", err)
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	// No more libraries than Argo CD opens.
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.LoadLibName: lua.OpenPackage,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", luaValue(state, decoded))
	if err := state.DoString(script); err != nil {
		t.Fatalf("run the check: %v", err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatal("the check returns no table")
	}
	return result.RawGetString("status").String() + ": " + result.RawGetString("message").String()
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, field := range v {
			table.RawSetString(key, luaValue(state, field))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(luaValue(state, item))
		}
		return table
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	}
	return lua.LNil
}
