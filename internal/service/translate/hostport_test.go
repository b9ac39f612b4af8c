// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

func TestHostPorts(t *testing.T) {
	tests := map[string]struct {
		port   corev1.ContainerPort
		change func(*corev1.Pod)
		want   []shape
	}{
		"at every address of the node and at its loopback, in both families": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80},
			want: []shape{
				{
					Frontends: []string{"tcp 127.0.0.1:80", "tcp 172.18.0.11:80"}, World: []string{"tcp 172.18.0.11:80"},
					Backends: []string{"10.0.1.9:8080"},
				},
				{
					Frontends: []string{"tcp [::1]:80", "tcp [fd00:172:18::11]:80"}, World: []string{"tcp [fd00:172:18::11]:80"},
					Backends: []string{"[fd00:1::9]:8080"},
				},
			},
		},
		"at every address of one family": {
			port: corev1.ContainerPort{ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP, HostIP: "0.0.0.0"},
			want: []shape{{
				Frontends: []string{"udp 127.0.0.1:53", "udp 172.18.0.11:53"}, World: []string{"udp 172.18.0.11:53"},
				Backends: []string{"10.0.1.9:53"},
			}},
		},
		"at one address of the node": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, HostIP: "172.18.0.11"},
			want: []shape{{
				Frontends: []string{"tcp 172.18.0.11:80"}, World: []string{"tcp 172.18.0.11:80"}, Backends: []string{"10.0.1.9:8080"},
			}},
		},
		"at its loopback alone": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, HostIP: "127.0.0.1"},
			want: []shape{{Frontends: []string{"tcp 127.0.0.1:80"}, Backends: []string{"10.0.1.9:8080"}}},
		},
		"of a container that starts before the others": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, HostIP: "::1"},
			change: func(p *corev1.Pod) {
				p.Spec.InitContainers, p.Spec.Containers = p.Spec.Containers, nil
			},
			want: []shape{{Frontends: []string{"tcp [::1]:80"}, Backends: []string{"[fd00:1::9]:8080"}}},
		},
		"not at an address that is not the node's": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, HostIP: "192.0.2.2"},
		},
		"not at what is no address":  {port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, HostIP: "here"}},
		"not without a host port":    {port: corev1.ContainerPort{ContainerPort: 8080}},
		"not by an unknown protocol": {port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80, Protocol: "ICMP"}},
		"not before the pod has an address": {
			port: corev1.ContainerPort{ContainerPort: 8080, HostPort: 80}, change: func(p *corev1.Pod) { p.Status.PodIPs = nil },
		},
		"not when the pod has ended, and its address may be another's": {
			port:   corev1.ContainerPort{ContainerPort: 8080, HostPort: 80},
			change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		},
		"not of a pod in the node's own network": {
			port:   corev1.ContainerPort{ContainerPort: 8080, HostPort: 8080},
			change: func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.Namespace, pod.Name = "ns", "web"
			pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{tt.port}}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.PodIPs = []corev1.PodIP{{IP: "10.0.1.9"}, {IP: "fd00:1::9"}}
			if tt.change != nil {
				tt.change(pod)
			}
			if diff := cmp.Diff(tt.want, shapes(this().PodSets(pod)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sets (-want +got):\n%s", diff)
			}
		})
	}
}
