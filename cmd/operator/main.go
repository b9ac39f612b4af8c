// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command cilium-operator runs the cluster's controllers: one replica leads, the others wait.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/ciliate-io/ciliate/controllers/operator"
	"github.com/ciliate-io/ciliate/internal/apiserver"
	"github.com/ciliate-io/ciliate/internal/config"
	"github.com/ciliate-io/ciliate/internal/logging"
	"github.com/ciliate-io/ciliate/internal/version"
)

func main() {
	path := flag.String("config", "", "the YAML file with the process settings; without it the defaults hold")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *path)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cilium-operator:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The process must end soon after: the Lease is given back by then.
func run(ctx context.Context, path string) error {
	settings, err := config.LoadOperator(path)
	if err != nil {
		return err
	}
	ctrl.SetLogger(logging.New(settings.LogLevel))
	ctrl.Log.Info("Starting cilium-operator", "version", version.Version)
	rest, err := apiserver.Config(os.Getenv)
	if err != nil {
		return err
	}
	scheme, err := operator.Scheme()
	if err != nil {
		return fmt.Errorf("make the scheme: %w", err)
	}
	options := operator.Options(scheme, settings.LeaderElectionNamespace)
	options.Metrics = metricsserver.Options{BindAddress: settings.MetricsAddr}
	options.HealthProbeBindAddress = settings.HealthAddr
	mgr, err := ctrl.NewManager(rest, options)
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := operator.Setup(mgr, operator.Deps{Clock: time.Now, Metrics: metrics.Registry}); err != nil {
		return fmt.Errorf("set up the controllers: %w", err)
	}
	return mgr.Start(ctx)
}
