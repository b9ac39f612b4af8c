// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// identity finds the number that the operator made for the pod's labels. While labels change, the old number stays until
// the new one exists.
func (r *Reconciler) identity(ctx context.Context, a *attachment) (wait, error) {
	if a.pod == nil {
		return wait{}, nil // the Pod is gone: its sandbox keeps the identity that it has
	}
	filter, ok := r.Node.Filter()
	if !ok {
		return a.waits(v1alpha1.ConditionIdentityAssigned, v1alpha1.ReasonWaitingForIdentity,
			"CiliumConfig default has published no identity filter yet"), nil
	}
	labels, err := r.labels(ctx, filter, a.pod)
	if err != nil {
		return wait{}, err
	}
	a.key.Store(labels.Key())
	number, err := r.number(ctx, a.wants())
	if err != nil {
		return wait{}, err
	}
	if number == 0 && a.status.Identity == nil {
		return a.waits(v1alpha1.ConditionIdentityAssigned, v1alpha1.ReasonWaitingForIdentity,
			"The operator has made no identity for the pod's labels yet"), nil
	}
	if number != 0 {
		a.ep.Identity = dp.Identity(number)
		a.status.Identity = &v1alpha1.EndpointIdentity{Number: int64(number), Labels: labels.Sorted()}
		a.set(v1alpha1.ConditionIdentityAssigned, true, v1alpha1.ReasonAssigned, fmt.Sprintf("Identity %d", number))
	}
	return wait{}, nil
}

func (r *Reconciler) labels(ctx context.Context, filter identity.Filter, pod *corev1.Pod) (identity.Labels, error) {
	ns := &corev1.Namespace{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: pod.Namespace}, ns); err != nil {
		return nil, err
	}
	return filter.Labels(identity.Pod{
		Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName, Labels: pod.Labels,
	}, ns.Labels), nil
}

// number is the lowest number in use for a set of labels (two leaders may have made two), or 0.
func (r *Reconciler) number(ctx context.Context, key string) (uint32, error) {
	list := &v1alpha1.CiliumIdentityList{}
	if err := r.Client.List(ctx, list, client.MatchingFields{index.IdentityKey: key}); err != nil {
		return 0, err
	}
	var lowest uint32
	for i := range list.Items {
		number, err := strconv.ParseUint(list.Items[i].Name, 10, 32)
		if err != nil || list.Items[i].Status.RetiredAt != nil {
			continue
		}
		if lowest == 0 || uint32(number) < lowest {
			lowest = uint32(number)
		}
	}
	return lowest, nil
}
