// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/controllers/agent"
	"github.com/ciliate-io/ciliate/controllers/agent/cni"
	"github.com/ciliate-io/ciliate/internal/apiserver"
	"github.com/ciliate-io/ciliate/internal/config"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/logging"
	"github.com/ciliate-io/ciliate/internal/version"
)

// serve runs the agent until ctx ends. Its first deed is the CNI plugin's credential: the last agent's token has died
// with its pod.
func serve(ctx context.Context, c config.Agent) error {
	ctrl.SetLogger(logging.New(c.LogLevel))
	log := ctrl.Log.WithValues("node", c.NodeName)
	ctx = ctrl.LoggerInto(ctx, log)
	log.Info("Starting cilium-agent", "version", version.Version)
	bootID, err := os.ReadFile(c.BootIDFile)
	if err != nil {
		return fmt.Errorf("read the node's boot ID: %w", err)
	}
	rc, err := apiserver.Config(os.Getenv)
	if err != nil {
		return err
	}
	rc.UserAgent = "cilium-agent/" + version.Version
	credential, err := cni.NewCredential(rc, c.TokenFile, c.RunDir, clock.RealClock{})
	if err != nil {
		return err
	}
	if err := credential.Write(); err != nil {
		return err
	}
	ready := newHealth()
	if err := ready.listen(ctx, c.HealthAddr); err != nil {
		return err
	}
	return manage(ctx, rc, ready, agent.Deps{
		Config: c, BootID: strings.TrimSpace(string(bootID)), Credential: credential, Clock: clock.RealClock{}, Seed: rand.Uint64(),
	})
}

// manage waits for the configuration, opens the datapath, and runs the controllers; d gets what comes of that.
func manage(ctx context.Context, rc *rest.Config, ready *health, d agent.Deps) error {
	scheme, err := agent.NewScheme()
	if err != nil {
		return err
	}
	direct, err := client.New(rc, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	cluster, err := agent.WaitForConfig(ctx, direct, ready.waitFor)
	if ctx.Err() != nil {
		return nil // told to stop while waiting
	}
	if err != nil {
		return err
	}
	// Only now: a manager cannot be made before the CRDs exist and the apiserver answers.
	mgr, remote, err := agent.NewManager(ctx, rc, scheme, d.Config)
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	datapath, err := kernel.Open(ctx, agent.DatapathConfig(cluster, d.Config))
	if err != nil {
		return errors.Join(fmt.Errorf("open the datapath: %w", err), agent.ReportFailure(ctx, direct, d.Config.NodeName, err))
	}
	defer func() { _ = datapath.Close() }()
	d.Cluster, d.Datapath = *cluster, datapath
	start, err := agent.Setup(ctx, mgr, remote, d)
	if err != nil {
		return fmt.Errorf("set up the controllers: %w", err)
	}
	ready.ask(start.Ready)
	return mgr.Start(ctx)
}
