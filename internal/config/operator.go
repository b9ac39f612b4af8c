// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"errors"
)

// Operator holds the process settings of cilium-operator. What the cluster decides is in CiliumConfig.
type Operator struct {
	// MetricsAddr is where Prometheus metrics are served; default ":9963". "0" serves none.
	MetricsAddr string `json:"metricsAddr"`
	// HealthAddr is where /healthz and /readyz are served; default "127.0.0.1:9234". "0" serves none.
	HealthAddr string `json:"healthAddr"`
	// LogLevel is debug, info or error; default "info".
	LogLevel string `json:"logLevel"`
	// LeaderElectionNamespace is the namespace of the Lease "cilium-operator" by which replicas choose their leader;
	// default "kube-system".
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
}

// LoadOperator reads the YAML file at path over the defaults.
func LoadOperator(path string) (Operator, error) {
	c := Operator{
		MetricsAddr:             ":9963",
		HealthAddr:              "127.0.0.1:9234",
		LogLevel:                "info",
		LeaderElectionNamespace: "kube-system",
	}
	if err := load(path, &c); err != nil {
		return Operator{}, err
	}
	return c, c.validate()
}

func (c Operator) validate() error {
	errs := []error{validateLogLevel(c.LogLevel)}
	if c.LeaderElectionNamespace == "" {
		errs = append(errs, errors.New("leaderElectionNamespace is empty"))
	}
	return errors.Join(errs...)
}
