// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// note gives the object its next revision and tells every watch of it.
func (s *Server) note(kind string, ep *v1alpha1.CiliumEndpoint) {
	s.revision++
	ep.ResourceVersion = strconv.Itoa(s.revision)
	s.history = append(s.history, change{revision: s.revision, kind: kind, object: *ep.DeepCopy()})
	close(s.changed)
	s.changed = make(chan struct{})
	if kind == "DELETED" {
		return
	}
	for _, watcher := range s.watchers {
		go watcher(*ep.DeepCopy())
	}
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, target target) {
	query := r.URL.Query()
	from, err := strconv.Atoi(query.Get("resourceVersion"))
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "resourceVersion: "+err.Error())
		return
	}
	seconds, err := strconv.Atoi(query.Get("timeoutSeconds"))
	if err != nil {
		seconds = 60
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	timeout := time.After(time.Duration(seconds) * time.Second)
	for {
		changes, tooOld, wake := s.since(from)
		if tooOld {
			send(w, "ERROR", failure(http.StatusGone, metav1.StatusReasonExpired, "too old resource version"))
			return
		}
		for _, c := range changes {
			from = c.revision
			if selected(&c.object, query.Get("fieldSelector"), target.namespace) {
				send(w, c.kind, c.object)
			}
		}
		select {
		case <-wake:
		case <-timeout:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// since lists what happened after a revision, and gives the channel that closes when more does.
func (s *Server) since(revision int) (changes []change, tooOld bool, wake <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.history {
		if c.revision > revision {
			changes = append(changes, c)
		}
	}
	return changes, revision < s.oldest, s.changed
}

func send(w http.ResponseWriter, kind string, object any) {
	// A watcher that has gone is seen by its context.
	_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
	flush(w)
}

func flush(w http.ResponseWriter) {
	// Every writer that a server hands out can do it.
	_ = http.NewResponseController(w).Flush()
}
