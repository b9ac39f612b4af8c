// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package fake is an apiserver in memory, over TLS, as far as cilium-cni looks at one: CiliumEndpoints with UIDs,
// resource versions, finalizers, preconditions, field selectors and watches. What it promises stands in Contract, which
// the real kube-apiserver has to pass as well. On top of that it can be told to fail in every way that a network and an
// overloaded apiserver know.
package fake

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// Server holds the objects. Its methods may be called from anywhere.
type Server struct {
	http    *httptest.Server
	now     func() time.Time
	stopped chan struct{}

	mu       sync.Mutex
	objects  map[string]*v1alpha1.CiliumEndpoint // by "namespace/name"
	revision int
	oldest   int // a watch from before this revision is too old
	history  []change
	changed  chan struct{} // closed and replaced with every change
	token    string
	faults   map[string][]Fault
	requests []string
	watchers []func(v1alpha1.CiliumEndpoint)
	asked    func(verb string)
}

// change is one event of a watch.
type change struct {
	revision int
	kind     string
	object   v1alpha1.CiliumEndpoint
}

// NewServer starts a server that accepts one token, and stops it with the test.
func NewServer(t *testing.T, token string) *Server {
	t.Helper()
	s := &Server{
		now:      time.Now,
		stopped:  make(chan struct{}),
		objects:  map[string]*v1alpha1.CiliumEndpoint{},
		revision: 100,
		oldest:   100,
		changed:  make(chan struct{}),
		token:    token,
		faults:   map[string][]Fault{},
		asked:    func(string) {},
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	// Clients that do not trust it are part of the tests.
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.StartTLS()
	t.Cleanup(func() {
		close(s.stopped)
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// URL is the server's address.
func (s *Server) URL() string { return s.http.URL }

// Stop makes the server's address refuse connections.
func (s *Server) Stop() {
	s.http.CloseClientConnections()
	s.http.Listener.Close()
}

// Client trusts the server and carries its present token.
func (s *Server) Client() *http.Client {
	client := s.http.Client()
	client.Transport = bearer{next: client.Transport, token: s.token}
	return client
}

// Kubeconfig is the file for a client with this token, in the form in which the agent writes it.
func (s *Server) Kubeconfig(t *testing.T, token string) []byte {
	t.Helper()
	return Kubeconfig(t, s.http.URL, s.http.Certificate(), token)
}

// Kubeconfig is a kubeconfig as the agent writes it: JSON, one context.
func Kubeconfig(t testing.TB, url string, ca *x509.Certificate, token string) []byte {
	t.Helper()
	pemCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	type m = map[string]any
	data, err := json.Marshal(m{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []m{{"name": "c", "cluster": m{"server": url, "certificate-authority-data": pemCA}}},
		"users":           []m{{"name": "u", "user": m{"token": token}}},
		"contexts":        []m{{"name": "x", "context": m{"cluster": "c", "user": "u"}}},
		"current-context": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Rotate makes the server accept another token, and only that.
func (s *Server) Rotate(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Compact makes every watch from the present revision or before it too old.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.oldest = s.revision
}

// Requests lists the verbs that were asked for, in order: create, get, list, watch, delete, patch.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// OnChange calls f with each new state of each object, deletion aside, in a goroutine of its own.
func (s *Server) OnChange(f func(v1alpha1.CiliumEndpoint)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// OnRequest calls f with the verb of each request, before it is answered.
func (s *Server) OnRequest(f func(verb string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = f
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	target, err := parse(r)
	if err != nil {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, err.Error())
		return
	}
	serve := func(w http.ResponseWriter) {
		if !s.authenticated(r) {
			refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
			return
		}
		s.dispatch(w, r, target)
	}
	fault, asked := s.record(target.verb)
	asked(target.verb)
	if fault != nil {
		fault(w, r, serve)
		return
	}
	serve(w)
}

func (s *Server) authenticated(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.Header.Get("Authorization") == "Bearer "+s.token
}

// record notes the request and returns the fault that waits for it, if any, and who wants to know of it.
func (s *Server) record(verb string) (Fault, func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, verb)
	waiting := s.faults[verb]
	if len(waiting) == 0 {
		return nil, s.asked
	}
	s.faults[verb] = waiting[1:]
	return waiting[0], s.asked
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, target target) {
	switch target.verb {
	case "create":
		s.create(w, r, target)
	case "get":
		s.get(w, target)
	case "list":
		s.list(w, r, target)
	case "watch":
		s.watch(w, r, target)
	case "delete":
		s.delete(w, r, target)
	case "patch":
		s.patch(w, r, target)
	default:
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method)
	}
}

// target is what a request is about.
type target struct {
	verb, namespace, name, subresource string
}

func (t target) key() string { return t.namespace + "/" + t.name }

// parse reads /apis/GROUP/VERSION[/namespaces/NS]/ciliumendpoints[/NAME[/status]].
func parse(r *http.Request) (target, error) {
	rest, found := strings.CutPrefix(r.URL.Path, "/apis/"+v1alpha1.GroupVersion.String()+"/")
	parts := strings.Split(rest, "/")
	t := target{}
	if len(parts) > 1 && parts[0] == "namespaces" {
		t.namespace, parts = parts[1], parts[2:]
	}
	if !found || len(parts) == 0 || parts[0] != "ciliumendpoints" || len(parts) > 3 {
		return t, fmt.Errorf("the server could not find the requested resource %s", r.URL.Path)
	}
	if len(parts) > 1 {
		t.name = parts[1]
	}
	if len(parts) > 2 {
		t.subresource = parts[2]
	}
	t.verb = verb(r, t.name)
	return t, nil
}

func verb(r *http.Request, name string) string {
	watch := r.URL.Query().Get("watch")
	switch {
	case r.Method == http.MethodPost && name == "":
		return "create"
	case r.Method == http.MethodGet && (watch == "1" || watch == "true"):
		return "watch"
	case r.Method == http.MethodGet && name == "":
		return "list"
	case r.Method == http.MethodGet:
		return "get"
	case r.Method == http.MethodDelete && name != "":
		return "delete"
	case r.Method == http.MethodPatch && name != "":
		return "patch"
	}
	return r.Method
}

// bearer adds the token to each request.
type bearer struct {
	next  http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
