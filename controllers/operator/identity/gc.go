// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/identity"
)

const (
	// settle is how old an identity is before it can be retired: the pod for which it was made may not be in this cache.
	settle = time.Minute
	// rest is how long a retired identity stays, so that its number gets no other labels while anyone may remember it.
	rest = 30 * time.Minute
)

// plan is what to do with identities that are not used.
type plan struct{ retire, remove []*v1alpha1.CiliumIdentity }

// planFor decides by what is counted. Of several with the same labels, the lowest in force stays; the others are retired
// once no endpoint has their number.
func planFor(list []v1alpha1.CiliumIdentity, c count, now time.Time) plan {
	best := map[string]int{}
	for i := range list {
		key, number := index.IdentityLabels(&list[i]).Key(), numberOf(&list[i])
		if list[i].Status.RetiredAt != nil {
			continue
		}
		if have, ok := best[key]; !ok || number < have {
			best[key] = number
		}
	}
	var p plan
	for i := range list {
		id := &list[i]
		key, number := index.IdentityLabels(id).Key(), numberOf(id)
		_, used := c.keys[key]
		chosen := used && (best[key] == number || best[key] == 0)
		switch {
		case chosen || c.numbers[number]:
		case id.Status.RetiredAt == nil && now.Sub(id.CreationTimestamp.Time) >= settle:
			p.retire = append(p.retire, id)
		case id.Status.RetiredAt != nil && now.Sub(id.Status.RetiredAt.Time) >= rest:
			p.remove = append(p.remove, id)
		}
	}
	return p
}

// collect carries the plan out. One identity that resists does not save the others.
func (c *Census) collect(ctx context.Context, cfg *v1alpha1.CiliumConfig, counted count) error {
	var list v1alpha1.CiliumIdentityList
	if err := c.client.List(ctx, &list); err != nil {
		return fmt.Errorf("list the identities: %w", err)
	}
	p := planFor(list.Items, counted, c.now())
	var errs []error
	for _, id := range p.retire {
		errs = append(errs, ignoreChanged(c.numbers.retire(ctx, id, metav1.NewTime(c.now()))))
	}
	slices.SortFunc(p.remove, func(a, b *v1alpha1.CiliumIdentity) int { return numberOf(a) - numberOf(b) })
	for _, id := range p.remove {
		errs = append(errs, ignoreChanged(c.remove(ctx, cfg, id)))
	}
	return errors.Join(errs...)
}

// remove deletes a retired identity once the API server itself confirms that nobody uses it. Had it been revived since,
// the delete would be a conflict.
func (c *Census) remove(ctx context.Context, cfg *v1alpha1.CiliumConfig, id *v1alpha1.CiliumIdentity) error {
	used, err := c.usedNow(ctx, cfg, id)
	if err != nil || used {
		return err
	}
	err = c.client.Delete(ctx, id, client.Preconditions{UID: &id.UID, ResourceVersion: &id.ResourceVersion})
	if err != nil {
		return fmt.Errorf("delete identity %s: %w", id.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Deleted an identity", "CiliumIdentity", id.Name)
	return nil
}

// usedNow asks the API server. All pods and endpoints of an identity are in the namespace that its labels name.
func (c *Census) usedNow(ctx context.Context, cfg *v1alpha1.CiliumConfig, id *v1alpha1.CiliumIdentity) (bool, error) {
	labels := index.IdentityLabels(id)
	in := client.InNamespace(labels[identity.KeyNamespace])
	var endpoints v1alpha1.CiliumEndpointList
	if err := c.live.List(ctx, &endpoints, in); err != nil {
		return false, fmt.Errorf("list the endpoints of namespace %s: %w", in, err)
	}
	for _, ep := range endpoints.Items {
		if ep.Status.Identity != nil && int(ep.Status.Identity.Number) == numberOf(id) {
			return true, nil
		}
	}
	namespace := &corev1.Namespace{}
	if err := c.live.Get(ctx, client.ObjectKey{Name: string(in)}, namespace); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	var pods corev1.PodList
	if err := c.live.List(ctx, &pods, in); err != nil {
		return false, fmt.Errorf("list the pods of namespace %s: %w", in, err)
	}
	return slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
		return translate.HasIdentity(&pod) && slices.ContainsFunc(filters(cfg), func(f identity.Filter) bool {
			return f.Labels(translate.Pod(&pod), namespace.Labels).Key() == labels.Key()
		})
	}), nil
}

// ignoreChanged leaves to the next census what has changed or gone in the meantime.
func ignoreChanged(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
