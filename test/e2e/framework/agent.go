// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"os"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AsAgent is a client with the credential that the node's agent wrote for the CNI plugin: its own token.
func (n *Node) AsAgent(t *testing.T) client.Client {
	t.Helper()
	path, err := n.Path("/run/cilium/cni.kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := clientcmd.RESTConfigFromKubeConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	// The address is the nodes'; the machine reaches the same API server another way.
	config := rest.AnonymousClientConfig(n.cluster.Config)
	config.BearerToken = theirs.BearerToken
	agent, err := client.New(config, client.Options{Scheme: n.cluster.Scheme(), Mapper: n.cluster.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return agent
}
