// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package config holds the process settings of each binary: struct, defaults, validation. What belongs to the cluster is
// in CiliumConfig. Entry points: LoadAgent, LoadOperator.
package config

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// load fills into (which holds the defaults) from the YAML file at path; unknown keys are errors. An empty path leaves
// the defaults.
func load(path string, into any) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		return fmt.Errorf("parse the configuration %s: %w", path, err)
	}
	return nil
}

func validateLogLevel(level string) error {
	switch level {
	case "debug", "info", "error":
		return nil
	}
	return fmt.Errorf("logLevel %q is none of debug, info, error", level)
}
