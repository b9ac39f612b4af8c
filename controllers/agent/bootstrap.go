// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/schema"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// configEvery is how often the agent looks for its configuration while there is none: only at a cluster's very start.
const configEvery = 500 * time.Millisecond

// WaitForConfig returns CiliumConfig "default" once it is usable, and until then says through report what it waits for.
func WaitForConfig(ctx context.Context, c client.Reader, report func(string)) (*v1alpha1.CiliumConfig, error) {
	var usable *v1alpha1.CiliumConfig
	last := ""
	err := wait.PollUntilContextCancel(ctx, configEvery, true, func(ctx context.Context) (bool, error) {
		found, reason := usableConfig(ctx, c)
		if reason != "" {
			if report(reason); reason != last {
				ctrl.LoggerFrom(ctx).Info("Waiting for the configuration", "reason", reason)
				last = reason
			}
			return false, nil
		}
		usable = found
		return true, nil
	})
	return usable, err
}

// usableConfig returns the configuration, or why it cannot be used yet.
func usableConfig(ctx context.Context, c client.Reader) (*v1alpha1.CiliumConfig, string) {
	if err := schema.Check(ctx, c); err != nil {
		return nil, err.Error()
	}
	found := &v1alpha1.CiliumConfig{}
	err := c.Get(ctx, types.NamespacedName{Name: v1alpha1.ConfigName}, found)
	switch {
	case apierrors.IsNotFound(err):
		return nil, "CiliumConfig default does not exist yet: the operator makes it"
	case err != nil:
		return nil, fmt.Sprintf("read CiliumConfig default: %v", err)
	}
	if found.Status.IdentityFilter == nil {
		return nil, "CiliumConfig default has no identity filter yet: the operator publishes it"
	}
	return found, ""
}

// DatapathConfig is what of the configuration is fixed while the agent runs.
func DatapathConfig(cluster *v1alpha1.CiliumConfig, c config.Agent) dp.Config {
	return dp.Config{
		Native:          cluster.Spec.RoutingMode == v1alpha1.RoutingNative,
		StackForwarding: cluster.Spec.HostForwarding == v1alpha1.ForwardingStack,
		DirectReturn:    cluster.Spec.LoadBalancer.Mode == v1alpha1.LoadBalancerDSR,
		TunnelPort:      uint16(cluster.Spec.TunnelPort),
		BPFFS:           c.BPFFS,
		ProcSysNet:      c.ProcSysNet,
		Cgroup:          c.Cgroup,
	}
}

// ReportFailure says in the status of the node why the agent cannot run on it at all.
func ReportFailure(ctx context.Context, c client.Client, nodeName string, failure error) error {
	reason := v1alpha1.ReasonDatapathError
	var unsupported *loader.ErrUnsupported
	switch {
	case errors.As(failure, &unsupported):
		reason = v1alpha1.ReasonKernelUnsupported
	case errors.Is(failure, dp.ErrTunnelPortInUse):
		reason = v1alpha1.ReasonTunnelPortInUse
	}
	node := &v1alpha1.CiliumNode{}
	if err := c.Get(ctx, types.NamespacedName{Name: nodeName}, node); err != nil {
		return client.IgnoreNotFound(err)
	}
	condition := metav1ac.Condition().WithType(v1alpha1.ConditionReady).WithStatus(metav1.ConditionFalse).
		WithReason(reason).WithMessage(failure.Error()).WithLastTransitionTime(metav1.Now())
	status := ac.CiliumNodeStatus().WithConditions(condition)
	return c.Status().Apply(ctx, ac.CiliumNode(nodeName).WithResourceVersion(node.ResourceVersion).WithStatus(status),
		client.FieldOwner("cilium-agent"), client.ForceOwnership)
}
