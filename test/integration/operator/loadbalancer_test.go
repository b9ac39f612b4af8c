// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// pool is one with a block from the first to the last address.
func pool(name, first, last string, change ...func(*v1alpha1.CiliumLoadBalancerIPPoolSpec)) *v1alpha1.CiliumLoadBalancerIPPool {
	p := &v1alpha1.CiliumLoadBalancerIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Blocks = []v1alpha1.LoadBalancerIPPoolBlock{{Start: first, Stop: last}}
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

// balanced is a Service of type LoadBalancer in the test's namespace.
func (c *cluster) balanced(name string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}
	svc.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": name},
		Ports: []corev1.ServicePort{{Port: 80}},
	}
	for _, ch := range change {
		ch(svc)
	}
	return svc
}

// create makes objects without a status: the operator writes it at once.
func (c *cluster) create(objects ...client.Object) {
	c.t.Helper()
	for _, obj := range objects {
		c.check(c.Create(c.t.Context(), obj))
	}
}

func wants(addrs string) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Annotations = map[string]string{v1alpha1.LoadBalancerIPsAnnotation: addrs}
	}
}

// told waits until a Service has these addresses and the condition this reason.
func (c *cluster) told(name, reason string, want ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("Service %s has %v, %s", name, want, reason), func() error {
		svc := c.balanced(name)
		if err := c.get(svc); err != nil {
			return err
		}
		var have []string
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			have = append(have, ingress.IP)
		}
		found := meta.FindStatusCondition(svc.Status.Conditions, v1alpha1.ConditionIPAMRequestSatisfied)
		switch {
		case found == nil && reason == "" && len(have) == 0:
			return nil
		case found == nil || found.Reason != reason || (found.Status == metav1.ConditionTrue) != (reason == v1alpha1.ReasonSatisfied):
			return fmt.Errorf("the condition is %v", found)
		case !slices.Equal(have, want):
			return fmt.Errorf("it has %v", have)
		}
		return nil
	})
}

// counts waits for the numbers and conditions of a pool: "used/total", and the types that are True.
func (c *cluster) counts(name, numbers string, want ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("pool %s has %s, %v", name, numbers, want), func() error {
		p := &v1alpha1.CiliumLoadBalancerIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := c.get(p); err != nil {
			return err
		}
		var have []string
		for _, condition := range p.Status.Conditions {
			if condition.Status == metav1.ConditionTrue {
				have = append(have, condition.Type)
			}
		}
		slices.Sort(have)
		got := fmt.Sprintf("%d/%d", p.Status.Used, p.Status.Total)
		if got != numbers || !slices.Equal(have, want) || p.Status.Available != p.Status.Total-p.Status.Used {
			return fmt.Errorf("it has %s, %v", got, have)
		}
		return nil
	})
}

func TestServicesGetAddresses(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.create(c.balanced("early"))
	c.always("without a pool it is left to others", func() error {
		svc := c.balanced("early")
		if err := c.get(svc); err != nil {
			return err
		}
		if len(svc.Status.Conditions) > 0 {
			return fmt.Errorf("it has %v", svc.Status.Conditions)
		}
		return nil
	})
	c.create(pool("blue", "192.0.2.1", "192.0.2.3"))
	c.told("early", v1alpha1.ReasonSatisfied, "192.0.2.1")
	c.create(c.balanced("asks", wants("192.0.2.3")), c.balanced("again", wants("192.0.2.3")), c.balanced("beyond", wants("203.0.113.1")))
	c.told("asks", v1alpha1.ReasonSatisfied, "192.0.2.3")
	c.told("again", v1alpha1.ReasonAddressInUse)
	c.told("beyond", v1alpha1.ReasonAddressNotInPool)
	c.create(c.balanced("field", func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "192.0.2.2" }))
	c.told("field", v1alpha1.ReasonSatisfied, "192.0.2.2")
	c.counts("blue", "3/3", v1alpha1.ConditionExhausted, v1alpha1.ConditionValid)
	c.create(c.balanced("late"), c.balanced("foreign", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = new("example.com/theirs") }))
	c.told("late", v1alpha1.ReasonPoolExhausted)
	c.told("foreign", "")
	c.eventually("an event says so", func() error { return c.event("Service", v1alpha1.ReasonPoolExhausted) })

	c.remove(c.balanced("asks"))
	c.told("again", v1alpha1.ReasonSatisfied, "192.0.2.3")
	changed := c.balanced("early")
	c.check(c.get(changed))
	changed.Spec.Type = corev1.ServiceTypeClusterIP
	c.check(c.Update(t.Context(), changed))
	c.told("early", "")
	c.told("late", v1alpha1.ReasonSatisfied, "192.0.2.1")
	c.counts("blue", "3/3", v1alpha1.ConditionExhausted, v1alpha1.ConditionValid)
}

func TestPoolsChooseServices(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.create(
		pool("blue", "192.0.2.1", "192.0.2.9", func(s *v1alpha1.CiliumLoadBalancerIPPoolSpec) {
			s.ServiceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"color": "blue"}}
		}),
		pool("named", "198.51.100.1", "198.51.100.9", func(s *v1alpha1.CiliumLoadBalancerIPPoolSpec) {
			s.ServiceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{
				"io.kubernetes.service.namespace": c.namespace, "io.kubernetes.service.name": "named",
			}}
		}),
	)
	c.create(
		c.balanced("labelled", func(svc *corev1.Service) { svc.Labels = map[string]string{"color": "blue"} }),
		c.balanced("named"), c.balanced("neither"),
	)
	c.told("labelled", v1alpha1.ReasonSatisfied, "192.0.2.1")
	c.told("named", v1alpha1.ReasonSatisfied, "198.51.100.1")
	c.told("neither", v1alpha1.ReasonNoPool)

	c.changePool("blue", func(s *v1alpha1.CiliumLoadBalancerIPPoolSpec) { s.Disabled = true })
	c.create(c.balanced("later", func(svc *corev1.Service) { svc.Labels = map[string]string{"color": "blue"} }))
	c.told("later", v1alpha1.ReasonNoPool)
	c.told("labelled", v1alpha1.ReasonSatisfied, "192.0.2.1")
	c.changePool("blue", func(s *v1alpha1.CiliumLoadBalancerIPPoolSpec) { s.Disabled = false })
	c.told("later", v1alpha1.ReasonSatisfied, "192.0.2.2")

	c.remove(pool("named", "", ""))
	c.told("named", v1alpha1.ReasonNoPool)
}

func (c *cluster) changePool(name string, change func(*v1alpha1.CiliumLoadBalancerIPPoolSpec)) {
	c.t.Helper()
	c.eventually("the pool changes", func() error {
		p := pool(name, "", "")
		if err := c.get(p); err != nil {
			return err
		}
		change(&p.Spec)
		return c.Update(c.t.Context(), p)
	})
}

func TestPoolsThatMakeNoSense(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.create(pool("a-old", "192.0.2.1", "192.0.2.9"))
	c.counts("a-old", "0/9", v1alpha1.ConditionValid)
	c.create(pool("b-young", "192.0.2.9", "192.0.2.20"), pool("c-turned", "198.51.100.9", "198.51.100.1"))
	c.counts("b-young", "0/12", v1alpha1.ConditionConflicting, v1alpha1.ConditionValid)
	c.counts("c-turned", "0/0")
	c.create(c.balanced("web", wants("192.0.2.20")))
	c.told("web", v1alpha1.ReasonAddressNotInPool)
	c.remove(pool("a-old", "", ""))
	c.counts("b-young", "1/12", v1alpha1.ConditionValid)
	c.told("web", v1alpha1.ReasonSatisfied, "192.0.2.20")
}

func TestPoolRules(t *testing.T) {
	c := newCluster(t)
	tests := map[string]struct {
		block v1alpha1.LoadBalancerIPPoolBlock
		want  string
	}{
		"a CIDR":                {block: v1alpha1.LoadBalancerIPPoolBlock{CIDR: "192.0.2.0/24"}},
		"an IPv6 CIDR":          {block: v1alpha1.LoadBalancerIPPoolBlock{CIDR: "2001:db8::/64"}},
		"a range":               {block: v1alpha1.LoadBalancerIPPoolBlock{Start: "192.0.2.1", Stop: "192.0.2.9"}},
		"one address":           {block: v1alpha1.LoadBalancerIPPoolBlock{Start: "2001:db8::1"}},
		"nothing":               {want: "either cidr or start"},
		"both":                  {block: v1alpha1.LoadBalancerIPPoolBlock{CIDR: "192.0.2.0/24", Start: "192.0.2.1"}, want: "either cidr or start"},
		"a stop alone":          {block: v1alpha1.LoadBalancerIPPoolBlock{CIDR: "192.0.2.0/24", Stop: "192.0.2.1"}, want: "stop needs start"},
		"two families":          {block: v1alpha1.LoadBalancerIPPoolBlock{Start: "192.0.2.1", Stop: "2001:db8::1"}, want: "one family"},
		"a CIDR with host bits": {block: v1alpha1.LoadBalancerIPPoolBlock{CIDR: "192.0.2.1/24"}, want: "without host bits"},
		"no address":            {block: v1alpha1.LoadBalancerIPPoolBlock{Start: "web"}, want: "must be an IP address"},
		"a mapped address":      {block: v1alpha1.LoadBalancerIPPoolBlock{Start: "::ffff:192.0.2.1"}, want: "must be an IP address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := pool("", "", "", func(s *v1alpha1.CiliumLoadBalancerIPPoolSpec) {
				s.Blocks = []v1alpha1.LoadBalancerIPPoolBlock{tt.block}
			})
			p.GenerateName = "pool-"
			c.in(t).refused(c.Create(t.Context(), p, client.DryRunAll), tt.want)
		})
	}
}

// TestFailoverGivesNoAddressTwice kills a leader while it gives addresses; whoever has one keeps it under the next.
func TestFailoverGivesNoAddressTwice(t *testing.T) {
	c := newCluster(t)
	c.check(client.IgnoreNotFound(c.Delete(t.Context(), c.lease())))
	killFirst := c.operator(elected)
	c.operator(elected)
	c.create(pool("blue", "192.0.2.1", "192.0.2.40"))
	had := map[string]string{}
	for i := range 40 {
		c.create(c.balanced(fmt.Sprint("web-", i)))
		if i == 20 {
			c.eventually("the first one gives", func() error { return c.given(had) })
			killFirst()
		}
	}
	c.counts("blue", "40/40", v1alpha1.ConditionExhausted, v1alpha1.ConditionValid)
	now := map[string]string{}
	c.check(c.given(now))
	owner := map[string]string{}
	for name, addr := range now {
		if other := owner[addr]; other != "" {
			t.Errorf("%s is the address of %s and %s", addr, other, name)
		}
		owner[addr] = name
	}
	for name, addr := range had {
		if now[name] != addr {
			t.Errorf("%s had %s and now has %s", name, addr, now[name])
		}
	}
}

// given fills in who has which address; an error when nobody has any.
func (c *cluster) given(into map[string]string) error {
	var list corev1.ServiceList
	if err := c.List(c.t.Context(), &list, client.InNamespace(c.namespace)); err != nil {
		return err
	}
	for _, svc := range list.Items {
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			into[svc.Name] = ingress.IP
		}
	}
	if len(into) == 0 {
		return fmt.Errorf("no Service has an address")
	}
	return nil
}

// TestRestartWritesNothing: what is well is not written again.
func TestRestartWritesNothing(t *testing.T) {
	c := newCluster(t)
	stop := c.operator()
	c.create(pool("blue", "192.0.2.1", "192.0.2.9"), c.balanced("web"))
	c.told("web", v1alpha1.ReasonSatisfied, "192.0.2.1")
	c.counts("blue", "1/9", v1alpha1.ConditionValid)
	stop()
	svc, blue := c.balanced("web"), pool("blue", "", "")
	c.check(c.get(svc))
	c.check(c.get(blue))
	before := svc.ResourceVersion + " " + blue.ResourceVersion
	c.operator()
	c.always("nothing is written", func() error {
		if err := errors.Join(c.get(svc), c.get(blue)); err != nil {
			return err
		}
		if now := svc.ResourceVersion + " " + blue.ResourceVersion; now != before {
			return fmt.Errorf("versions were %s and are %s", before, now)
		}
		return nil
	})
	c.create(c.balanced("next"))
	c.told("next", v1alpha1.ReasonSatisfied, "192.0.2.2")
}
