// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/ciliate-io/ciliate/controllers/agent/announcement"
	"github.com/ciliate-io/ciliate/controllers/agent/cni"
	"github.com/ciliate-io/ciliate/controllers/agent/endpoint"
	"github.com/ciliate-io/ciliate/controllers/agent/identity"
	"github.com/ciliate-io/ciliate/controllers/agent/ipcache"
	"github.com/ciliate-io/ciliate/controllers/agent/node"
	"github.com/ciliate-io/ciliate/controllers/agent/service"
)

// stepAgain is how soon a step of taking over that failed is tried again.
const stepAgain = time.Second

// Start takes over the node, once: what the last agent left keeps carrying traffic meanwhile and is adopted, compared and
// repaired, never flushed.
type Start struct {
	mgr    ctrl.Manager
	remote cache.Cache
	clock  clock.WithTicker

	node          *node.Reconciler
	endpoints     *endpoint.Reconciler
	ipcache       *ipcache.Reconciler
	identities    *identity.Reconciler
	services      *service.Reconciler
	announcements *announcement.Reconciler
	file          *cni.ConfigFile
	heartbeat     *cni.Heartbeat

	serving atomic.Bool
	// failure is the sentence about the step that does not succeed; a string.
	failure atomic.Value
}

// Start runs the steps in their order. The tables of addresses and identities are complete before the first endpoint is
// touched; the runtime is told last.
func (s *Start) Start(ctx context.Context) error {
	begin := s.clock.Now()
	log := ctrl.LoggerFrom(ctx)
	if !s.mgr.GetCache().WaitForCacheSync(ctx) || !s.remote.WaitForCacheSync(ctx) {
		return nil // the agent is told to stop
	}
	log.Info("Synced the caches", "after", s.clock.Since(begin).Round(time.Millisecond).String())
	select {
	case <-ctx.Done():
		return nil
	case <-s.node.Programmed():
	}
	for _, step := range []struct {
		deed string
		run  func(context.Context) error
	}{
		{"fill the table of addresses", s.ipcache.Sync},
		{"fill the table of identities", s.identities.Sync},
		{"take over the endpoints", s.endpoints.Restore},
		{"fill the tables of Services", s.services.Sync},
		{"attach the endpoints", s.endpoints.Serve},
		{"announce the addresses of Services", s.announcements.Sync},
	} {
		if !s.insist(ctx, step.deed, step.run) {
			return nil
		}
	}
	s.serving.Store(true)
	if err := s.file.Write(); err != nil {
		log.Error(err, "Writing the CNI configuration file, will try again")
	}
	if err := s.heartbeat.Serve(); err != nil {
		log.Error(err, "Writing the heartbeat, will try again")
	}
	log.Info("Serving pods", "after", s.clock.Since(begin).Round(time.Millisecond).String())
	return nil
}

// insist does a step until it succeeds: a kernel that is busy is no reason to start all over. It tells whether to go on.
func (s *Start) insist(ctx context.Context, deed string, run func(context.Context) error) bool {
	ticker := s.clock.NewTicker(stepAgain)
	defer ticker.Stop()
	for {
		err := run(ctx)
		if err == nil {
			return true
		}
		ctrl.LoggerFrom(ctx).Error(err, "Taking over the node, will try again", "step", deed)
		s.failure.Store(fmt.Sprintf("The agent could not %s: %v", deed, err))
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C():
		}
	}
}

// Reason is why the agent does not serve pods yet, for people; empty when it does.
func (s *Start) Reason() string {
	if s.serving.Load() {
		return ""
	}
	if reason := s.node.Reason(); reason != "" {
		return reason
	}
	if failure, ok := s.failure.Load().(string); ok {
		return failure
	}
	return "The agent is taking over the node"
}

// Ready is an error that says why the agent does not serve pods, or nil.
func (s *Start) Ready() error {
	if reason := s.Reason(); reason != "" {
		return errors.New(reason)
	}
	if ok, _, message := s.file.State(); !ok {
		return errors.New(message)
	}
	return nil
}
