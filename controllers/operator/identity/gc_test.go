// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestPlan(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	inForce := func(name, app string, age time.Duration) v1alpha1.CiliumIdentity {
		id := build.Identity(name, "k8s:app", app)
		id.CreationTimestamp = metav1.NewTime(now.Add(-age))
		return *id
	}
	retired := func(name, app string, since time.Duration) v1alpha1.CiliumIdentity {
		id := inForce(name, app, since+time.Hour)
		at := metav1.NewTime(now.Add(-since))
		id.Status.RetiredAt = &at
		return id
	}
	tests := map[string]struct {
		have       []v1alpha1.CiliumIdentity
		apps       []string // Pods have these.
		numbers    []int    // Endpoints have these.
		wantRetire []string
		wantRemove []string
	}{
		"used":                 {have: []v1alpha1.CiliumIdentity{inForce("300", "a", time.Hour)}, apps: []string{"a"}},
		"unused":               {have: []v1alpha1.CiliumIdentity{inForce("300", "a", time.Hour)}, wantRetire: []string{"300"}},
		"unused but brand-new": {have: []v1alpha1.CiliumIdentity{inForce("300", "a", time.Second)}},
		"unused by pods, but an endpoint has it": {
			have: []v1alpha1.CiliumIdentity{inForce("300", "a", time.Hour)}, numbers: []int{300},
		},
		"retired for a while": {have: []v1alpha1.CiliumIdentity{retired("300", "a", 29*time.Minute)}},
		"retired for long":    {have: []v1alpha1.CiliumIdentity{retired("300", "a", 31*time.Minute)}, wantRemove: []string{"300"}},
		"retired for long, but it is to be revived": {
			have: []v1alpha1.CiliumIdentity{retired("300", "a", 31*time.Minute)}, apps: []string{"a"},
		},
		"retired for long, but an endpoint has it": {
			have: []v1alpha1.CiliumIdentity{retired("300", "a", 31*time.Minute)}, numbers: []int{300},
		},
		"two in force with the same labels": {
			have: []v1alpha1.CiliumIdentity{inForce("3000", "a", time.Hour), inForce("299", "a", time.Hour)}, apps: []string{"a"},
			wantRetire: []string{"3000"},
		},
		"the higher of two is still in use": {
			have: []v1alpha1.CiliumIdentity{inForce("3000", "a", time.Hour), inForce("299", "a", time.Hour)}, apps: []string{"a"},
			numbers: []int{3000},
		},
		"one in force above a retired one": {
			have: []v1alpha1.CiliumIdentity{retired("299", "a", 31*time.Minute), inForce("3000", "a", time.Hour)},
			apps: []string{"a"}, wantRemove: []string{"299"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			counted := count{keys: map[string]identity.Labels{}, numbers: map[int]bool{}}
			for _, app := range tt.apps {
				l := identity.Labels{"k8s:app": app}
				counted.keys[l.Key()] = l
			}
			for _, n := range tt.numbers {
				counted.numbers[n] = true
			}
			p := planFor(tt.have, counted, now)
			if diff := cmp.Diff(tt.wantRetire, names(p.retire)); diff != "" {
				t.Errorf("retire (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantRemove, names(p.remove)); diff != "" {
				t.Errorf("remove (-want +got):\n%s", diff)
			}
		})
	}
}

func names(list []*v1alpha1.CiliumIdentity) []string {
	var out []string
	for _, id := range list {
		out = append(out, id.Name)
	}
	return out
}

func TestAvailability(t *testing.T) {
	tests := map[string]struct {
		used int
		want string
	}{
		"none used":       {used: 0, want: v1alpha1.ReasonEnoughNumbers},
		"just below 80 %": {used: identity.Allocatable*80/100 - 1, want: v1alpha1.ReasonEnoughNumbers},
		"80 %":            {used: identity.Allocatable * 80 / 100, want: v1alpha1.ReasonNumbersLow},
		"all":             {used: identity.Allocatable, want: v1alpha1.ReasonNumbersExhausted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := availability(tt.used)
			if got.Reason != tt.want || (got.Status == metav1.ConditionTrue) != (tt.want == v1alpha1.ReasonEnoughNumbers) {
				t.Errorf("got %s because of %s, want %s", got.Status, got.Reason, tt.want)
			}
		})
	}
}

func TestNextFilter(t *testing.T) {
	inForce := func(version int64, exclude ...string) *v1alpha1.IdentityFilter {
		return &v1alpha1.IdentityFilter{Version: version, ClusterName: "default", Exclude: append(identity.Volatile(), exclude...)}
	}
	tests := map[string]struct {
		have        *v1alpha1.IdentityFilter
		exclude     []string
		complete    bool
		wantVersion int64
		wantChanged bool
	}{
		"the first":                           {complete: true, wantVersion: 1, wantChanged: true},
		"the first, not all identities exist": {},
		"the same":                            {have: inForce(3), complete: true, wantVersion: 3},
		"another":                             {have: inForce(3), exclude: []string{"x"}, complete: true, wantVersion: 4, wantChanged: true},
		"another, not all identities exist":   {have: inForce(3), exclude: []string{"x"}, wantVersion: 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := build.Config(24, "10.77.0.0/16")
			cfg.Spec.Identity.ExcludeLabels, cfg.Status.IdentityFilter = tt.exclude, tt.have
			got, changed := nextFilter(cfg, tt.complete)
			version := int64(0)
			if got != nil {
				version = got.Version
			}
			if version != tt.wantVersion || changed != tt.wantChanged {
				t.Errorf("version %d, changed %v; want %d, %v", version, changed, tt.wantVersion, tt.wantChanged)
			}
		})
	}
}

func TestSubset(t *testing.T) {
	labels := index.IdentityLabels(build.Identity("300", "k8s:app", "a", identity.KeyNamespace, "ns"))
	tests := map[string]struct {
		pod  map[string]string
		want bool
	}{
		"equal":            {pod: map[string]string{"app": "a"}, want: true},
		"volatile besides": {pod: map[string]string{"app": "a", "pod-template-hash": "1"}, want: true},
		"another value":    {pod: map[string]string{"app": "b"}},
		"no label":         {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := subset(labels, tt.pod); got != tt.want {
				t.Errorf("subset = %v, want %v", got, tt.want)
			}
		})
	}
}
