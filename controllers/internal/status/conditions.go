// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// Conditions are the conditions of have whose type a writer owns, for its server-side apply.
func Conditions(have []metav1.Condition, owned func(metav1.Condition) bool) []*metav1ac.ConditionApplyConfiguration {
	var out []*metav1ac.ConditionApplyConfiguration
	for _, c := range have {
		if !owned(c) {
			continue
		}
		out = append(out, metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).
			WithMessage(c.Message).WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime))
	}
	return out
}
