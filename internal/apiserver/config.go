// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package apiserver finds the API server without a Service, because it is what makes Services reachable. Entry point:
// Config.
package apiserver

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config is how to reach the API server: from inside a pod with its service account, or by the kubeconfig that the
// variable KUBECONFIG names. env looks up environment variables. The API server itself says when it is too much; a limit
// here would only delay the pods that wait.
func Config(env func(string) string) (*rest.Config, error) {
	cfg, err := find(env)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	return cfg, nil
}

func find(env func(string) string) (*rest.Config, error) {
	if path := env("KUBECONFIG"); path != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			return nil, fmt.Errorf("read the kubeconfig %s: %w", path, err)
		}
		return cfg, nil
	}
	if env("KUBERNETES_SERVICE_HOST") == "" || env("KUBERNETES_SERVICE_PORT") == "" {
		return nil, errors.New("the API server's address is not known: " +
			"set KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the ConfigMap cilium-apiserver")
	}
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("read the service account: %w", err)
	}
	return cfg, nil
}
