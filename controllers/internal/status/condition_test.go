// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

func TestSetCondition(t *testing.T) {
	before := metav1.NewTime(time.Unix(100, 0))
	now := metav1.NewTime(time.Unix(200, 0))
	condition := func(status metav1.ConditionStatus, at metav1.Time, message string) metav1.Condition {
		return metav1.Condition{Type: "Ready", Status: status, LastTransitionTime: at, Reason: "R", Message: message}
	}
	tests := map[string]struct {
		have        []metav1.Condition
		set         []metav1.Condition
		wantTimes   []metav1.Time
		wantChanged bool
	}{
		"a new condition changed now": {
			set:         []metav1.Condition{condition("True", now, "")},
			wantTimes:   []metav1.Time{now},
			wantChanged: true,
		},
		"an equal condition keeps its time and changes nothing": {
			have:      []metav1.Condition{condition("True", before, "")},
			set:       []metav1.Condition{condition("True", now, "")},
			wantTimes: []metav1.Time{before},
		},
		"another message keeps the time": {
			have:        []metav1.Condition{condition("True", before, "")},
			set:         []metav1.Condition{condition("True", now, "other")},
			wantTimes:   []metav1.Time{before},
			wantChanged: true,
		},
		"another status changed now": {
			have:        []metav1.Condition{condition("False", before, "")},
			set:         []metav1.Condition{condition("True", now, "")},
			wantTimes:   []metav1.Time{now},
			wantChanged: true,
		},
		"the last of one type wins": {
			set:         []metav1.Condition{condition("False", before, ""), condition("True", now, "")},
			wantTimes:   []metav1.Time{now},
			wantChanged: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var list []metav1ac.ConditionApplyConfiguration
			var changed bool
			for _, c := range tt.set {
				changed = SetCondition(&list, tt.have, c)
			}
			var times []metav1.Time
			for _, c := range list {
				times = append(times, *c.LastTransitionTime)
			}
			if diff := cmp.Diff(tt.wantTimes, times); diff != "" {
				t.Errorf("transition times (-want +got):\n%s", diff)
			}
			if changed != tt.wantChanged {
				t.Errorf("changed = %v, want %v", changed, tt.wantChanged)
			}
		})
	}
}
