// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// AlgorithmAnnotation says of a Service how backends are chosen for packets that come from outside; Cilium's users know it.
const AlgorithmAnnotation = "service.cilium.io/lb-algorithm"

// The values of AlgorithmAnnotation.
const (
	random = "random"
	maglev = "maglev"
)

// CheckAlgorithm is an error if the Service names an algorithm that there is not. It then gets what all others do.
func CheckAlgorithm(svc *corev1.Service) error {
	said, there := svc.Annotations[AlgorithmAnnotation]
	if !there || said == random || said == maglev {
		return nil
	}
	return fmt.Errorf("annotation %s is %q: make it %s or %s, or remove it; until then spec.loadBalancer.algorithm of "+
		"CiliumConfig default counts", AlgorithmAnnotation, said, random, maglev)
}

func (n Node) maglev(svc *corev1.Service) bool {
	switch svc.Annotations[AlgorithmAnnotation] {
	case random:
		return false
	case maglev:
		return true
	}
	return n.Maglev
}
