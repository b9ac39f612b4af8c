// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"context"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// announced is the Lease of a Service in the test's namespace, as an agent makes it.
func (c *cluster) announced(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceSystem, Name: v1alpha1.AnnouncementLease(c.namespace, name),
		Labels: map[string]string{v1alpha1.AnnouncementNamespaceLabel: c.namespace, v1alpha1.AnnouncementServiceLabel: name},
	}}
}

func TestLeasesGoWithTheirServices(t *testing.T) {
	c := newCluster(t)
	c.create(c.balanced("web"), c.balanced("stays"), c.announced("web"), c.announced("stays"), c.announced("gone-before"))
	foreign := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "cilium-l2announce-x-y"}}
	c.create(foreign)
	t.Cleanup(func() { c.check(c.Delete(context.WithoutCancel(t.Context()), foreign)) })
	c.operator()
	c.eventually("one whose Service is gone goes", func() error { return c.gone(c.announced("gone-before")) })
	c.check(c.get(c.announced("web")))
	c.remove(c.balanced("web"))
	c.eventually("one goes with its Service", func() error { return c.gone(c.announced("web")) })
	c.always("others stay", func() error {
		if err := c.get(foreign); err != nil {
			return err
		}
		return c.get(c.announced("stays"))
	})
}

func TestPolicyRules(t *testing.T) {
	c := newCluster(t)
	c.operator()
	tests := map[string]struct {
		spec        v1alpha1.CiliumL2AnnouncementPolicySpec
		wantRefused string
		wantReason  string
	}{
		"everything": {spec: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true}, wantReason: v1alpha1.ReasonValid},
		"with selectors and expressions": {
			spec: v1alpha1.CiliumL2AnnouncementPolicySpec{
				ExternalIPs: true, Interfaces: []string{"^eth[0-9]+$"},
				ServiceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				NodeSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "node-role.kubernetes.io/control-plane", Operator: metav1.LabelSelectorOpDoesNotExist},
				}},
			},
			wantReason: v1alpha1.ReasonValid,
		},
		"nothing": {wantRefused: "announces nothing"},
		"no expression": {
			spec:       v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, Interfaces: []string{"eth("}},
			wantReason: v1alpha1.ReasonInvalidInterface,
		},
		"no operator": {
			spec: v1alpha1.CiliumL2AnnouncementPolicySpec{
				LoadBalancerIPs: true, ServiceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "app", Operator: "Like", Values: []string{"web"}},
				}},
			},
			wantReason: v1alpha1.ReasonInvalidSelector,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sub := c.in(t)
			policy := &v1alpha1.CiliumL2AnnouncementPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "policy-"}, Spec: tt.spec}
			sub.refused(c.Create(t.Context(), policy, client.DryRunAll), tt.wantRefused)
			if tt.wantRefused != "" {
				return
			}
			sub.create(policy)
			want := metav1.ConditionFalse
			if tt.wantReason == v1alpha1.ReasonValid {
				want = metav1.ConditionTrue
			}
			sub.eventually("the condition says so", func() error {
				if err := sub.get(policy); err != nil {
					return err
				}
				return condition(policy.Status.Conditions, v1alpha1.ConditionValid, want, tt.wantReason)
			})
		})
	}
}
