// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func nodePort(s *corev1.Service) {
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].NodePort = 30080
}

func says(algorithm string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations = map[string]string{AlgorithmAnnotation: algorithm} }
}

func TestAlgorithm(t *testing.T) {
	onlyHere := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	tests := map[string]struct {
		svc     *corev1.Service
		byPlace bool // the node's default is Maglev
		want    []string
		wantErr bool
	}{
		"random is the default":                   {svc: svc(nodePort), want: []string{"inside random", "outside random"}},
		"the default is Maglev, but not inside":   {svc: svc(nodePort), byPlace: true, want: []string{"inside random", "outside maglev"}},
		"the annotation wins":                     {svc: svc(nodePort, says("maglev")), want: []string{"inside random", "outside maglev"}},
		"the annotation wins over Maglev too":     {svc: svc(nodePort, says("random")), byPlace: true, want: []string{"inside random", "outside random"}},
		"nobody outside asks for it":              {svc: svc(says("maglev")), want: []string{"inside random"}},
		"packets from outside have their own set": {svc: svc(nodePort, onlyHere, says("maglev")), want: []string{"inside random", "outside random", "local maglev"}},
		"a wrong annotation leaves the default":   {svc: svc(nodePort, says("Maglev")), want: []string{"inside random", "outside random"}, wantErr: true},
		"an empty annotation is wrong as well":    {svc: svc(nodePort, says("")), byPlace: true, want: []string{"inside random", "outside maglev"}, wantErr: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := this()
			node.Maglev = tt.byPlace
			var got []string
			for _, set := range node.Sets(tt.svc, []discoveryv1.EndpointSlice{slice(end("10.0.1.1", here1, ""))}) {
				algorithm := map[bool]string{true: "maglev", false: "random"}[set.Maglev]
				got = append(got, fmt.Sprint(set.Name[strings.LastIndex(set.Name, " ")+1:], " ", algorithm))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sets (-want +got):\n%s", diff)
			}
			if err := CheckAlgorithm(tt.svc); (err != nil) != tt.wantErr {
				t.Errorf("error = %v, want one: %t", err, tt.wantErr)
			}
		})
	}
}

func TestHeldPorts(t *testing.T) {
	target := func(port intstr.IntOrString) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = port }
	}
	external := func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"172.18.0.11"} }
	named := func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("web") }
	same := slice(end("172.18.0.11", here1, ""))
	same.Ports = []discoveryv1.EndpointPort{port("", corev1.ProtocolTCP, 30080)}
	tests := map[string]struct {
		svc    *corev1.Service
		slices []discoveryv1.EndpointSlice
		want   string
	}{
		"a node port":  {svc: svc(nodePort), want: "[172.18.0.11:30080]"},
		"no node port": {svc: svc(), want: "[]"},
		"an external address of the node is not one": {svc: svc(nodePort, external), want: "[172.18.0.11:30080]"},
		"the backends listen at another port":        {svc: svc(nodePort, target(intstr.FromInt32(8080))), want: "[172.18.0.11:30080]"},
		"the backends listen at the same port":       {svc: svc(nodePort, target(intstr.FromInt32(30080))), want: "[]"},
		"a named port that is another":               {svc: svc(nodePort, named), slices: []discoveryv1.EndpointSlice{slice(end("10.0.1.1", here1, ""))}, want: "[172.18.0.11:30080]"},
		"a named port that is the same":              {svc: svc(nodePort, named), slices: []discoveryv1.EndpointSlice{same}, want: "[]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sets := this().Sets(tt.svc, tt.slices)
			if got := fmt.Sprint(sets[len(sets)-1].NodePorts); got != tt.want {
				t.Errorf("held: %s, want %s", got, tt.want)
			}
		})
	}
}
