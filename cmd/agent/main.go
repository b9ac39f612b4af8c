// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command cilium-agent runs on every node: it takes the node's CiliumEndpoints, CiliumNodes and CiliumIdentities to the
// kernel. With the word "install" it puts the CNI plugins in place, with "uninstall" it removes every trace of itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/internal/config"
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cilium-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	verbs := map[string]func(context.Context, config.Agent) error{"": serve, "install": install, "uninstall": uninstall}
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	do, known := verbs[verb]
	if !known {
		return fmt.Errorf("unknown word %q: say install, uninstall, or nothing to run the agent", verb)
	}
	flags := flag.NewFlagSet("cilium-agent", flag.ExitOnError)
	path := flags.String("config", "", "YAML file with the process settings")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := config.LoadAgent(*path, os.Getenv)
	if err != nil {
		return err
	}
	return do(ctx, c)
}
