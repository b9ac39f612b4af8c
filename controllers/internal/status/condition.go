// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package status helps writing status with server-side apply. Entry point: SetCondition.
package status

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// SetCondition puts want into list, in the place of an entry of its type. Its lastTransitionTime (the caller's "now")
// gives way to that of the condition in have when the status has not changed since. It reports whether anything differs
// from have, so that an equal status is not written again.
func SetCondition(list *[]metav1ac.ConditionApplyConfiguration, have []metav1.Condition, want metav1.Condition) bool {
	old := meta.FindStatusCondition(have, want.Type)
	if old != nil && old.Status == want.Status {
		want.LastTransitionTime = old.LastTransitionTime
	}
	entry := *metav1ac.Condition().
		WithType(want.Type).
		WithStatus(want.Status).
		WithObservedGeneration(want.ObservedGeneration).
		WithLastTransitionTime(want.LastTransitionTime).
		WithReason(want.Reason).
		WithMessage(want.Message)
	i := slices.IndexFunc(*list, func(c metav1ac.ConditionApplyConfiguration) bool { return *c.Type == want.Type })
	if i < 0 {
		*list = append(*list, entry)
	} else {
		(*list)[i] = entry
	}
	return old == nil || *old != want
}
