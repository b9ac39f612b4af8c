// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package manifests

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAgent(t *testing.T) {
	ds := object[appsv1.DaemonSet](t, parse(t, render(t, config+"default")), "DaemonSet/cilium")
	pod := ds.Spec.Template.Spec
	install, agent := pod.InitContainers[0], pod.Containers[0]
	one := intstr.FromInt32(1)

	equal(t, "selector", map[string]string{"k8s-app": "cilium", "ciliate.dev/component": "agent"}, ds.Spec.Selector.MatchLabels)
	equal(t, "update", appsv1.DaemonSetUpdateStrategy{
		Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one},
	}, ds.Spec.UpdateStrategy)
	equal(t, "priority", "system-node-critical", pod.PriorityClassName)
	equal(t, "tolerations", []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations)
	equal(t, "host network", true, pod.HostNetwork)
	equal(t, "images", []string{"ciliate/cilium-agent:dev", "ciliate/cilium-agent:dev"}, []string{install.Image, agent.Image})

	t.Run("only the init container is privileged", func(t *testing.T) {
		equal(t, "init container", true, *install.SecurityContext.Privileged)
		equal(t, "agent", (*bool)(nil), agent.SecurityContext.Privileged)
		equal(t, "capabilities", &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"},
			Add:  []corev1.Capability{"NET_ADMIN", "NET_RAW", "BPF", "PERFMON", "SYS_ADMIN"},
		}, agent.SecurityContext.Capabilities)
		if propagation(install, "/sys/fs/bpf") != corev1.MountPropagationBidirectional {
			t.Error("the init container cannot mount the node's bpf file system")
		}
		for _, path := range []string{"/sys/fs/bpf", "/run/netns", "/var/run/netns"} {
			if propagation(agent, path) != corev1.MountPropagationHostToContainer {
				t.Errorf("what the node mounts below %s later does not reach the agent", path)
			}
		}
	})
	t.Run("the token is the pod's own and short-lived", func(t *testing.T) { checkToken(t, pod) })
	t.Run("the address of the API server comes from the overlay", func(t *testing.T) { checkAddress(t, agent) })
	t.Run("probes ask the loopback", func(t *testing.T) { checkProbes(t, agent, 9879) })
}

func TestOperator(t *testing.T) {
	d := object[appsv1.Deployment](t, parse(t, render(t, config+"default")), "Deployment/cilium-operator")
	pod := d.Spec.Template.Spec
	operator := pod.Containers[0]
	zero, one := intstr.FromInt32(0), intstr.FromInt32(1)

	equal(t, "replicas", int32(2), *d.Spec.Replicas)
	equal(t, "update", &appsv1.RollingUpdateDeployment{MaxSurge: &zero, MaxUnavailable: &one}, d.Spec.Strategy.RollingUpdate)
	equal(t, "priority", "system-cluster-critical", pod.PriorityClassName)
	equal(t, "tolerations", []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations)
	equal(t, "host network", true, pod.HostNetwork)
	equal(t, "image", "ciliate/cilium-operator:dev", operator.Image)
	apart := pod.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
	equal(t, "replicas apart", "kubernetes.io/hostname", apart.TopologyKey)
	equal(t, "replicas apart", d.Spec.Selector.MatchLabels, apart.LabelSelector.MatchLabels)

	t.Run("it has no right on its node", func(t *testing.T) {
		equal(t, "not root", true, *pod.SecurityContext.RunAsNonRoot)
		equal(t, "read-only root", true, *operator.SecurityContext.ReadOnlyRootFilesystem)
		equal(t, "capabilities", &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, operator.SecurityContext.Capabilities)
	})
	t.Run("the token is the pod's own and short-lived", func(t *testing.T) { checkToken(t, pod) })
	t.Run("the address of the API server comes from the overlay", func(t *testing.T) { checkAddress(t, operator) })
	t.Run("probes ask the loopback", func(t *testing.T) { checkProbes(t, operator, 9234) })
}

// TestNoWriteIsAggregated: whoever may edit a namespace must not thereby be able to move a pod's address or identity.
func TestNoWriteIsAggregated(t *testing.T) {
	objects := parse(t, render(t, config+"default"))
	for key, o := range objects {
		if o.GetKind() != "ClusterRole" {
			continue
		}
		for _, into := range []string{"edit", "admin"} {
			if o.GetLabels()["rbac.authorization.k8s.io/aggregate-to-"+into] != "" {
				t.Errorf("%s is aggregated into %s", key, into)
			}
		}
	}
	viewer := object[rbacv1.ClusterRole](t, objects, "ClusterRole/cilium-viewer")
	for _, rule := range viewer.Rules {
		equal(t, "what a viewer may do", []string{"get", "list", "watch"}, rule.Verbs)
	}
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func propagation(c corev1.Container, path string) corev1.MountPropagationMode {
	i := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == path })
	if i < 0 || c.VolumeMounts[i].MountPropagation == nil {
		return ""
	}
	return *c.VolumeMounts[i].MountPropagation
}

func checkToken(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	equal(t, "automatic token", false, *pod.AutomountServiceAccountToken)
	i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Projected != nil })
	equal(t, "seconds", int64(3600), *pod.Volumes[i].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds)
}

func checkAddress(t *testing.T, c corev1.Container) {
	t.Helper()
	equal(t, "environment", "cilium-apiserver", c.EnvFrom[0].ConfigMapRef.Name)
}

func checkProbes(t *testing.T, c corev1.Container, port int32) {
	t.Helper()
	for path, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
		want := &corev1.HTTPGetAction{Host: "127.0.0.1", Path: path, Port: intstr.FromInt32(port)}
		equal(t, path, want, probe.HTTPGet)
	}
	equal(t, "/healthz at start", c.LivenessProbe.HTTPGet, c.StartupProbe.HTTPGet)
}
