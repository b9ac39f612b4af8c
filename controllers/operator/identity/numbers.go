// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// errExhausted: every number is taken.
var errExhausted = errors.New("no identity number is free: let fewer labels count (CiliumConfig default, identity)")

// numbers gives numbers to label sets. Its only memory are the CiliumIdentities.
type numbers struct {
	client client.Client
	live   client.Reader
}

// ensure sees to it that there is an identity with these labels which agents may choose.
func (n numbers) ensure(ctx context.Context, labels identity.Labels) error {
	key := labels.Key()
	var list v1alpha1.CiliumIdentityList
	if err := n.client.List(ctx, &list, client.MatchingFields{index.IdentityKey: key}); err != nil {
		return fmt.Errorf("look for the identity: %w", err)
	}
	if slices.ContainsFunc(list.Items, func(id v1alpha1.CiliumIdentity) bool { return id.Status.RetiredAt == nil }) {
		return nil
	}
	if len(list.Items) > 0 {
		return n.revive(ctx, lowest(list.Items))
	}
	return n.create(ctx, key, labels)
}

// lowest is the one that everybody chooses of several with the same labels.
func lowest(list []v1alpha1.CiliumIdentity) *v1alpha1.CiliumIdentity {
	best := slices.MinFunc(list, func(a, b v1alpha1.CiliumIdentity) int { return numberOf(&a) - numberOf(&b) })
	return &best
}

// numberOf is the number of an identity. The API server lets no other names pass.
func numberOf(id *v1alpha1.CiliumIdentity) int {
	number, err := strconv.Atoi(id.Name)
	if err != nil {
		return int(identity.MaxAllocated)
	}
	return number
}

// create takes the first number that nobody has. Another operator that makes the same identity tries the same numbers,
// so the two meet.
func (n numbers) create(ctx context.Context, key string, labels identity.Labels) error {
	for number := range identity.Candidates(key) {
		name := strconv.Itoa(int(number))
		if err := n.client.Get(ctx, client.ObjectKey{Name: name}, &v1alpha1.CiliumIdentity{}); err == nil {
			continue
		}
		made, err := n.take(ctx, name, key, labels)
		if err != nil {
			return fmt.Errorf("create identity %s: %w", name, err)
		}
		if made {
			return nil
		}
	}
	return errExhausted
}

// take tells whether the number now belongs to these labels.
func (n numbers) take(ctx context.Context, name, key string, labels identity.Labels) (bool, error) {
	id := &v1alpha1.CiliumIdentity{ObjectMeta: metav1.ObjectMeta{Name: name}}
	id.Spec.Labels = make(map[string]v1alpha1.LabelValue, len(labels))
	for k, v := range labels {
		id.Spec.Labels[k] = v1alpha1.LabelValue(v)
	}
	err := n.client.Create(ctx, id)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Made an identity", "CiliumIdentity", name, "labels", labels.Sorted())
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, err
	}
	if err := n.live.Get(ctx, client.ObjectKey{Name: name}, id); err != nil {
		return false, err // Gone again: the next try will tell.
	}
	if index.IdentityLabels(id).Key() != key {
		return false, nil
	}
	if id.Status.RetiredAt != nil {
		return true, n.revive(ctx, id)
	}
	return true, nil
}

// revive takes a retirement back. If the identity is deleted in between, the write is a conflict.
func (n numbers) revive(ctx context.Context, id *v1alpha1.CiliumIdentity) error {
	// Without a status it takes away what it said before; an empty status would leave a null, which is invalid.
	apply := v1alpha1ac.CiliumIdentity(id.Name).WithResourceVersion(id.ResourceVersion)
	if err := n.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("revive identity %s: %w", id.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Revived an identity", "CiliumIdentity", id.Name)
	return nil
}

// retire says that agents should not choose this identity any more.
func (n numbers) retire(ctx context.Context, id *v1alpha1.CiliumIdentity, now metav1.Time) error {
	apply := v1alpha1ac.CiliumIdentity(id.Name).WithResourceVersion(id.ResourceVersion).
		WithStatus(v1alpha1ac.CiliumIdentityStatus().WithRetiredAt(now))
	if err := n.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("retire identity %s: %w", id.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Retired an identity", "CiliumIdentity", id.Name)
	return nil
}
