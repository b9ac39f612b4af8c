// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// namespace holds everything that is made here; it goes in the end.
const namespace = "ciliate-bench"

// within makes the namespace, does the deed and removes it with all that is left in it.
func (c *cluster) within(ctx context.Context, deed func() error) error {
	err := c.makeNamespace(ctx)
	if err == nil {
		err = deed()
	}
	return errors.Join(err, c.removeNamespace(context.WithoutCancel(ctx)))
}

// makeNamespace makes it anew, and waits until it can hold pods.
func (c *cluster) makeNamespace(ctx context.Context) error {
	if err := c.removeNamespace(ctx); err != nil {
		return err
	}
	if err := c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	return until(ctx, "the default service account", func() (bool, error) {
		err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, err
	})
}

func (c *cluster) removeNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := c.client.Get(ctx, client.ObjectKeyFromObject(ns), ns); err != nil {
		return client.IgnoreNotFound(err)
	}
	ctx, cancel := context.WithTimeout(ctx, fleetLimit)
	defer cancel()
	err := errors.Join(
		c.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)),
		c.dissolve(ctx))
	if err := errors.Join(err, client.IgnoreNotFound(c.client.Delete(ctx, ns))); err != nil {
		return err
	}
	return until(ctx, "the end of namespace "+namespace, func() (bool, error) {
		err := c.client.Get(ctx, client.ObjectKeyFromObject(ns), ns)
		return apierrors.IsNotFound(err), nil
	})
}

// bind makes Pods that are bound to a node, and waits for the identity of their labels.
func (c *cluster) bind(ctx context.Context, node, app string, n int) ([]*corev1.Pod, error) {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = newPod(fmt.Sprintf("%s-%d", app, i), app, node)
		if err := c.client.Create(ctx, pods[i]); err != nil {
			return nil, fmt.Errorf("create pod %s: %w", pods[i].Name, err)
		}
	}
	return pods, c.awaitIdentity(ctx, app)
}

// awaitIdentity waits until the operator has made the identity of the pods of an app.
func (c *cluster) awaitIdentity(ctx context.Context, app string) error {
	return until(ctx, "the identity of app="+app, func() (bool, error) {
		list := &v1alpha1.CiliumIdentityList{}
		err := c.client.List(ctx, list)
		return slices.ContainsFunc(list.Items, func(id v1alpha1.CiliumIdentity) bool {
			return id.Spec.Labels["k8s:app"] == v1alpha1.LabelValue(app)
		}), err
	})
}

// newPod is a pod that does nothing, wherever it is.
func newPod(name, app, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{
				Name: "pause", Image: "ciliate/pause:3.10.2", ImagePullPolicy: corev1.PullNever,
			}},
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			TerminationGracePeriodSeconds: new(int64),
		},
	}
}

// unbind removes Pods at once, whatever their kubelet knows.
func (c *cluster) unbind(ctx context.Context, pods []*corev1.Pod) error {
	var err error
	for _, pod := range pods {
		err = errors.Join(err, client.IgnoreNotFound(c.client.Delete(ctx, pod, client.GracePeriodSeconds(0))))
	}
	return err
}

// endpoint waits until the pod's endpoint is Ready.
func (c *cluster) endpoint(ctx context.Context, name string) (*v1alpha1.CiliumEndpoint, error) {
	cep := &v1alpha1.CiliumEndpoint{}
	return cep, until(ctx, "endpoint "+name, func() (bool, error) {
		err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cep)
		return err == nil && isReady(cep), err
	})
}

func isReady(cep *v1alpha1.CiliumEndpoint) bool {
	return slices.ContainsFunc(cep.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue
	})
}
