// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake_test

import (
	"testing"

	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// The same contract binds the real kube-apiserver in test/integration/cni.
func TestServerKeepsTheContract(t *testing.T) {
	server := fake.NewServer(t, "token")
	fake.Contract(t, fake.API{URL: server.URL(), Client: server.Client()})
}
