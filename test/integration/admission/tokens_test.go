// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"testing"

	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testTokens: not impersonation but tokens as the kubelet requests them, so that it is the API server that says which
// node a token belongs to. The agents' true role is in force here, without the wide one.
func testTokens(t *testing.T, c *cluster) {
	c.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium-n1"},
		Spec: corev1.PodSpec{
			NodeName: "n1", ServiceAccountName: "cilium",
			Containers: []corev1.Container{{Name: "cilium-agent", Image: "ciliate/cilium-agent:dev"}},
		},
	}
	c.create(t, pod)
	bound := &authnv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	cases := map[string]struct {
		bound      *authnv1.BoundObjectReference
		target     func(w world) client.Object
		wantDenied string
	}{
		"a token of the pod on n1 writes an endpoint of n1": {
			bound: bound, target: func(w world) client.Object { return w.own },
		},
		"a token of the pod on n1 writes an endpoint of n2": {
			bound: bound, target: func(w world) client.Object { return w.other }, wantDenied: foreignEndpoint,
		},
		"a token of no pod writes an endpoint": {
			target: func(w world) client.Object { return w.own }, wantDenied: noNode,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			agent := c.withToken(t, tc.bound)
			err := patch(t.Context(), agent, tc.target(c.newWorld(t)), `{"metadata":{"labels":{"a":"b"}}}`)
			checkDenied(t, err, tc.wantDenied)
		})
	}
}

// withToken is a client that holds a fresh token of the agents' ServiceAccount.
func (c *cluster) withToken(t *testing.T, bound *authnv1.BoundObjectReference) client.Client {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium"}}
	request := &authnv1.TokenRequest{Spec: authnv1.TokenRequestSpec{BoundObjectRef: bound}}
	if err := c.admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatalf("request a token: %v", err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = request.Status.Token
	return c.client(t, config)
}
