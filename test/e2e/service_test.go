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

// TestServicesOutliveTheAgent: with the agent killed and while another takes over, every connection is led to a backend.
func TestServicesOutliveTheAgent(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, server("outlive-server", "outlive", c.Other(one)), netexec("outlive-client", one))
	svc := createService(t, c, "outlive", "outlive", nil)
	ask := fmt.Sprintf("[ $(curl -sS --max-time 5 %s/hostname) = outlive-server ]", url(svc.Spec.ClusterIP, 80))
	framework.Eventually(t, 30*time.Second, "the Service to answer", func(ctx context.Context) error {
		_, err := c.Exec(ctx, pods[1].Name, "sh", "-c", ask)
		return err
	})
	ended := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := c.Exec(ctx, pods[1].Name, "sh", "-c", "n=0; end=$(($(date +%s) + 20)); while [ $(date +%s) -lt $end ]; do "+
			ask+" || exit 1; n=$((n + 1)); done; echo $n")
		if err != nil {
			out = err.Error()
		}
		ended <- out
	}()
	one.Kill(t, framework.Agent)
	time.Sleep(5 * time.Second)
	one.Kill(t, framework.Agent)
	out := strings.TrimSpace(<-ended)
	if strings.Trim(out, "0123456789") != "" {
		t.Errorf("connections by the Service while agents were killed: %s", out)
	}
	t.Logf("%s connections, none lost", out)
	c.Settle(t)
	c.NoLeaks(t)
}
