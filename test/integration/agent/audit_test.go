// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// auditPolicy has the API server write down every write to an endpoint or node.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources: [{group: cilium.io, resources: [ciliumendpoints, ciliumendpoints/status, ciliumnodes, ciliumnodes/status]}]
- level: None
`

// auditEvent is what counts of a line of the API server's book.
type auditEvent struct {
	Verb      string `json:"verb"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// anyway and inEffect say which requests count: all, or those that changed something.
func anyway(auditEvent) bool     { return true }
func inEffect(e auditEvent) bool { return e.ResponseStatus.Code < http.StatusMultipleChoices }

// bookmark is where the API server's book ends now.
func bookmark(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(theCluster.audit)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// writes counts the requests since the test began that would change an object, by verb and part.
func (n *node) writes(resource, name string, counts func(auditEvent) bool) map[string]int {
	t := n.t
	t.Helper()
	file, err := os.Open(theCluster.audit)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(n.began, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		if ref := event.ObjectRef; ref != nil && ref.Resource == resource && ref.Name == name && counts(event) {
			what := event.Verb
			if ref.Subresource != "" {
				what += " " + ref.Subresource
			}
			count[what]++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return count
}

// wrote checks the requests that would change an object, those that failed too.
func (n *node) wrote(resource, name string, want map[string]int) {
	n.t.Helper()
	n.awaitWrites(resource, name, anyway, want)
}

// changed checks the requests that did change an object: a test that is quicker than the agent's cache sees conflicts besides.
func (n *node) changed(resource, name string, want map[string]int) {
	n.t.Helper()
	n.awaitWrites(resource, name, inEffect, want)
}

// awaitWrites gives the API server time to write down what it has answered.
func (n *node) awaitWrites(resource, name string, counts func(auditEvent) bool, want map[string]int) {
	n.t.Helper()
	eventually(n.t, func() error {
		if diff := cmp.Diff(want, n.writes(resource, name, counts)); diff != "" {
			return fmt.Errorf("writes to %s (-want +got):\n%s", name, diff)
		}
		return nil
	})
}
