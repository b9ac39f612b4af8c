// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// createService makes a Service in both families, for pods with the label app, and removes it when the test ends.
func createService(t *testing.T, c *framework.Cluster, name, app string, change func(*corev1.ServiceSpec)) *corev1.Service {
	t.Helper()
	families := corev1.IPFamilyPolicyPreferDualStack
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: framework.Namespace, Name: name}}
	svc.Spec = corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, IPFamilyPolicy: &families,
		Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)},
			{Name: "udp", Port: 81, TargetPort: intstr.FromInt32(8081), Protocol: corev1.ProtocolUDP},
		},
	}
	if change != nil {
		change(&svc.Spec)
	}
	if err := c.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.Background(), svc)); err != nil {
			t.Error(err)
		}
	})
	return svc
}

// server answers by HTTP and UDP who it is; its UDP port is 8081.
func server(name, app string, node *framework.Node) framework.Pod {
	return framework.Pod{
		Name: name, Node: node, Labels: map[string]string{"app": app},
		Args: []string{"netexec", "--http-port=8080", "--udp-port=8081"},
	}
}

// TestServicesAnswer: by ClusterIP and by name, from pods and from hosts, in every family; a node port at each of the
// node's own addresses; without anybody behind it, refused at once.
func TestServicesAnswer(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, server("svc-server", "svc", one), netexec("svc-near", one), netexec("svc-far", c.Other(one)))
	svc := createService(t, c, "svc", "svc", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	nobody := createService(t, c, "svc-nobody", "svc-nobody", nil)

	var script strings.Builder
	script.WriteString("set -e; ")
	for _, ip := range svc.Spec.ClusterIPs {
		fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 %s/hostname) = svc-server ]; ", url(ip, 80))
		fmt.Fprintf(&script, "[ $(echo hostname | nc -u -w 1 %s 81) = svc-server ]; ", ip)
		fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 -o /dev/null -w '%%{remote_ip}' %s/) = %s ]; ", url(ip, 80), ip)
	}
	for _, ip := range nobody.Spec.ClusterIPs {
		// curl says 7 for a refusal, 28 for having waited in vain.
		fmt.Fprintf(&script, "code=0; curl -s --max-time 5 %s/ || code=$?; [ $code = 7 ]; ", url(ip, 80))
	}
	byName := script.String() + fmt.Sprintf("[ $(curl -sS --max-time 5 http://svc.%s/hostname) = svc-server ]", framework.Namespace)
	for _, from := range pods {
		framework.Eventually(t, 30*time.Second, from.Name+" to reach the Services", func(ctx context.Context) error {
			_, err := c.Exec(ctx, from.Name, "sh", "-c", byName)
			return err
		})
	}
	for _, node := range c.Nodes {
		own := script.String()
		for _, addr := range node.Addrs {
			own += fmt.Sprintf("[ $(curl -sS --max-time 5 %s/hostname) = svc-server ]; ", url(addr, int(svc.Spec.Ports[0].NodePort)))
		}
		framework.Eventually(t, 30*time.Second, node.Name+" to reach the Services", func(ctx context.Context) error {
			_, err := node.Run(ctx, "sh", "-c", own)
			return err
		})
	}
	c.NoLeaks(t)
}

// TestServicesFollowTheirBackends: new backends are used, a backend that goes is not, and one that nobody replaces leaves
// a refusal.
func TestServicesFollowTheirBackends(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	client := c.StartPods(t, netexec("follow-client", one))[0]
	svc := createService(t, c, "follow", "follow", nil)
	vip := svc.Spec.ClusterIP
	answers := func(ctx context.Context) (string, error) {
		return c.Exec(ctx, client.Name, "sh", "-c", fmt.Sprintf("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do "+
			"curl -s --max-time 5 %s/hostname && echo || echo $?; done | sort -u | xargs", url(vip, 80)))
	}
	wantAnswers := func(want string) {
		t.Helper()
		framework.Eventually(t, 30*time.Second, "answers by "+want, func(ctx context.Context) error {
			got, err := answers(ctx)
			if err == nil && strings.TrimSpace(got) != want {
				err = fmt.Errorf("answers: %s", got)
			}
			return err
		})
	}
	const refused = "7"
	wantAnswers(refused)
	first := c.StartPods(t, server("follow-a", "follow", one))[0]
	wantAnswers("follow-a")
	second := c.StartPods(t, server("follow-b", "follow", c.Other(one)))[0]
	wantAnswers("follow-a follow-b")
	c.DeletePod(t, first)
	wantAnswers("follow-b")
	c.DeletePod(t, second)
	wantAnswers(refused)
	c.NoLeaks(t)
}

// TestConnectedUDPLeavesGoneBackends: a socket that stays connected to a backend which is gone gets an error, and the
// program that asks again finds the other one. DNS hangs else when its server restarts.
func TestConnectedUDPLeavesGoneBackends(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, server("gone-a", "gone", one), netexec("gone-client", one))
	svc := createService(t, c, "gone", "gone", nil)
	for i, from := range []func(ctx context.Context, script string) (string, error){
		func(ctx context.Context, script string) (string, error) {
			return c.Exec(ctx, pods[1].Name, "bash", "-c", script)
		},
		func(ctx context.Context, script string) (string, error) { return one.Run(ctx, "bash", "-c", script) },
	} {
		server := c.WaitRunning(t, "gone-a", time.Minute)
		framework.Eventually(t, 30*time.Second, "the Service to answer", func(ctx context.Context) error {
			_, err := from(ctx, fmt.Sprintf("[ -n \"$(echo hostname | nc -u -w 1 %s 81)\" ]", svc.Spec.ClusterIP))
			return err
		})
		// One socket, a datagram each 100 ms, until the socket itself says that it is over.
		script := fmt.Sprintf("exec 3<>/dev/udp/%s/81; for i in {1..300}; do echo hostname >&3 2>/dev/null || exit 0; sleep 0.1; done; exit 1",
			svc.Spec.ClusterIP)
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, err := from(ctx, script)
			ended <- err
		}()
		time.Sleep(2 * time.Second) // let it connect, and send for a while
		c.DeletePod(t, server)
		if err := <-ended; err != nil {
			t.Errorf("client %d: the socket to a backend that is gone never ends: %v", i, err)
		}
		if i == 0 {
			c.StartPods(t, framework.Pod{
				Name: "gone-a", Node: one, Labels: map[string]string{"app": "gone"},
				Args: []string{"netexec", "--http-port=8080", "--udp-port=8081"},
			})
		}
	}
	c.NoLeaks(t)
}

// TestPodIsItsOwnBackend: by its socket, by a node port of its node, and by one of another node, which leads it back.
func TestPodIsItsOwnBackend(t *testing.T) {
	c := framework.Open(t)
	pod := c.StartPods(t, server("hairpin", "hairpin", c.Nodes[0]))[0]
	svc := createService(t, c, "hairpin", "hairpin", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	script := "set -e; " + everywhere(c, svc, "hairpin")
	framework.Eventually(t, 30*time.Second, "the pod to reach itself", func(ctx context.Context) error {
		_, err := c.Exec(ctx, pod.Name, "sh", "-c", script)
		return err
	})
	c.NoLeaks(t)
}

// everywhere is a script that asks for the name of who is behind a Service, at every place where it is.
func everywhere(c *framework.Cluster, svc *corev1.Service, name string) string {
	var script strings.Builder
	ask := func(ip string, port int32) {
		fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 %s/hostname) = %s ]; ", url(ip, int(port)), name)
	}
	for _, ip := range svc.Spec.ClusterIPs {
		ask(ip, svc.Spec.Ports[0].Port)
	}
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			ask(addr, svc.Spec.Ports[0].NodePort)
		}
	}
	return script.String()
}

// TestBackendInTheNodesNetwork: a Service of a pod without a network of its own, asked from both nodes, from pods of both,
// and from the world, at every place.
func TestBackendInTheNodesNetwork(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	const port = 54082
	c.StartPods(t, framework.Pod{
		Name: "hostnet-server", Node: one, Labels: map[string]string{"app": "hostnet"}, HostNetwork: true,
		Args: []string{"netexec", fmt.Sprintf("--http-port=%d", port), "--udp-port=-1"},
	})
	pods := c.StartPods(t, netexec("hostnet-near", one), netexec("hostnet-far", c.Other(one)))
	svc := createService(t, c, "hostnet", "hostnet", func(s *corev1.ServiceSpec) {
		s.Type = corev1.ServiceTypeNodePort
		s.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(port)}}
	})
	script := "set -e; " + everywhere(c, svc, one.Name)
	for _, from := range pods {
		framework.Eventually(t, 30*time.Second, from.Name+" to reach the node's process", func(ctx context.Context) error {
			_, err := c.Exec(ctx, from.Name, "sh", "-c", script)
			return err
		})
	}
	for _, from := range c.Nodes {
		framework.Eventually(t, 30*time.Second, from.Name+" to reach the node's process", func(ctx context.Context) error {
			_, err := from.Run(ctx, "sh", "-c", script)
			return err
		})
	}
	ports := svc.DeepCopy()
	ports.Spec.ClusterIPs = nil
	succeeds(t, c.World(), "the world to reach the node's process", everywhere(c, ports, one.Name))
	c.NoLeaks(t)
}
