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
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// interval is the time between two censuses.
const interval = time.Minute

// Census counts all pods and identities once a minute and after each change of the configuration: it makes what is
// missing, publishes the label filter once every identity under it exists, retires and deletes what is not used, and says
// how many numbers are left.
type Census struct {
	client  client.Client
	live    client.Reader
	numbers numbers
	now     func() time.Time
}

// NewCensus makes a Census; live reads past the cache.
func NewCensus(c client.Client, live client.Reader, clock func() time.Time) *Census {
	return &Census{client: c, live: live, numbers: numbers{client: c, live: live}, now: clock}
}

// SetupWithManager registers the controller.
func (c *Census) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("census").
		For(&v1alpha1.CiliumConfig{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(c)
}

// Reconcile holds a census.
func (c *Census) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cfg := &v1alpha1.CiliumConfig{}
	if err := c.client.Get(ctx, req.NamespacedName, cfg); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	counted, err := c.count(ctx, cfg)
	if err != nil {
		return ctrl.Result{}, err
	}
	complete, err := c.ensureAll(ctx, counted.keys)
	if err != nil {
		return conflict.Requeue(ctrl.Result{}, err)
	}
	if err := c.publish(ctx, cfg, complete && counted.complete); err != nil {
		return conflict.Requeue(ctrl.Result{}, err)
	}
	if counted.complete {
		err = c.collect(ctx, cfg, counted)
	}
	return conflict.Requeue(ctrl.Result{RequeueAfter: interval}, err)
}

// count is what the cluster's pods and endpoints use.
type count struct {
	// keys are the label sets of pods, by their canonical key.
	keys map[string]identity.Labels
	// numbers are the identities of endpoints.
	numbers map[int]bool
	// complete says that every pod could be counted.
	complete bool
}

func (c *Census) count(ctx context.Context, cfg *v1alpha1.CiliumConfig) (count, error) {
	var namespaces corev1.NamespaceList
	var pods corev1.PodList
	var endpoints v1alpha1.CiliumEndpointList
	for _, list := range []client.ObjectList{&namespaces, &pods, &endpoints} {
		if err := c.client.List(ctx, list); err != nil {
			return count{}, fmt.Errorf("count: %w", err)
		}
	}
	namespaceLabels := map[string]map[string]string{}
	for _, ns := range namespaces.Items {
		namespaceLabels[ns.Name] = ns.Labels
	}
	out := count{keys: map[string]identity.Labels{}, numbers: map[int]bool{}, complete: true}
	for i := range pods.Items {
		pod := &pods.Items[i]
		labels, known := namespaceLabels[pod.Namespace]
		if !translate.HasIdentity(pod) {
			continue
		}
		out.complete = out.complete && known
		for _, filter := range filters(cfg) {
			l := filter.Labels(translate.Pod(pod), labels)
			out.keys[l.Key()] = l
		}
	}
	for _, ep := range endpoints.Items {
		if ep.Status.Identity != nil {
			out.numbers[int(ep.Status.Identity.Number)] = true
		}
	}
	return out, nil
}

// ensureAll makes the identities that are missing. What can never be made does not hold up the others; that numbers have
// run out is told by the condition.
func (c *Census) ensureAll(ctx context.Context, keys map[string]identity.Labels) (complete bool, err error) {
	for _, labels := range keys {
		err := c.numbers.ensure(ctx, labels)
		switch {
		case errors.Is(err, errExhausted):
			return false, nil
		case apierrors.IsInvalid(err):
			ctrl.LoggerFrom(ctx).Error(err, "Making an identity", "labels", labels.Sorted())
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// publish writes the filter in force (a new one only when every identity under it exists) and the condition.
func (c *Census) publish(ctx context.Context, cfg *v1alpha1.CiliumConfig, complete bool) error {
	var identities v1alpha1.CiliumIdentityList
	if err := c.client.List(ctx, &identities); err != nil {
		return fmt.Errorf("count the identities: %w", err)
	}
	filter, changed := nextFilter(cfg, complete)
	out := v1alpha1ac.CiliumConfigStatus()
	if filter != nil {
		out.WithIdentityFilter(v1alpha1ac.IdentityFilter().WithVersion(filter.Version).WithClusterName(filter.ClusterName).
			WithInclude(filter.Include...).WithExclude(filter.Exclude...))
	}
	available := availability(len(identities.Items))
	available.ObservedGeneration, available.LastTransitionTime = cfg.Generation, metav1.NewTime(c.now())
	changed = status.SetCondition(&out.Conditions, cfg.Status.Conditions, available) || changed
	if !changed {
		return nil
	}
	apply := v1alpha1ac.CiliumConfig(cfg.Name).WithResourceVersion(cfg.ResourceVersion).WithStatus(out)
	if err := c.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("publish the identity filter: %w", err)
	}
	return nil
}

// nextFilter is the filter to publish, and whether it is a new one.
func nextFilter(cfg *v1alpha1.CiliumConfig, complete bool) (*v1alpha1.IdentityFilter, bool) {
	have, wanted := cfg.Status.IdentityFilter, translate.WantedFilter(&cfg.Spec)
	if !complete || have != nil && equal(translate.Filter(have), wanted) {
		return have, false
	}
	next := &v1alpha1.IdentityFilter{
		Version: 1, ClusterName: wanted.ClusterName, Include: wanted.Include, Exclude: wanted.Exclude,
	}
	if have != nil {
		next.Version = have.Version + 1
	}
	return next, true
}

func equal(a, b identity.Filter) bool {
	return a.ClusterName == b.ClusterName && slices.Equal(a.Include, b.Include) && slices.Equal(a.Exclude, b.Exclude)
}

// alarmPercent is how full the range of numbers may be before someone should know.
const alarmPercent = 80

// availability is the condition for this many identities. The exact number is left out of it, for each change would be a
// write.
func availability(used int) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionIdentitiesAvailable, Status: metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonEnoughNumbers,
		Message: fmt.Sprintf("Less than %d %% of the %d identity numbers are in use", alarmPercent, identity.Allocatable),
	}
	switch {
	case used >= identity.Allocatable:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonNumbersExhausted, errExhausted.Error()
	case used*100 >= identity.Allocatable*alarmPercent:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonNumbersLow
		c.Message = fmt.Sprintf("At least %d %% of the %d identity numbers are in use: let fewer labels count",
			alarmPercent, identity.Allocatable)
	}
	return c
}
