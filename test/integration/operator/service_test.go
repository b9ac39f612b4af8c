// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

func TestWrongAnnotationsOfServices(t *testing.T) {
	c := newCluster(t)
	c.operator()
	wrong := func(svc *corev1.Service) {
		svc.Annotations = map[string]string{translate.AlgorithmAnnotation: "roulette"}
	}
	c.create(c.balanced("web", wrong))
	c.eventually("who says what there is not is told so", func() error { return c.event("Service", v1alpha1.EventInvalidAnnotation) })
}
