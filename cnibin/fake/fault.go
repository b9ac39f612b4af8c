// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"io"
	"net/http"
	"net/http/httptest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault takes the place of one answer. It may let the server act first.
type Fault func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter))

// Fail lets the next requests of a verb meet these faults, one each.
func (s *Server) Fail(verb string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[verb] = append(s.faults[verb], faults...)
}

// Refuse answers with a code and does nothing.
func Refuse(code int, reason metav1.StatusReason, message string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		refuse(w, code, reason, message)
	}
}

// Garbage answers with a code and a body that no apiserver would send, as a proxy on the way may.
func Garbage(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte("<html>"))
	}
}

// Drop closes the connection before anything was done.
func Drop() Fault {
	return func(http.ResponseWriter, *http.Request, func(http.ResponseWriter)) {
		panic(http.ErrAbortHandler)
	}
}

// Lose does what was asked and closes the connection instead of answering.
func Lose() Fault {
	return func(_ http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		serve(httptest.NewRecorder())
		panic(http.ErrAbortHandler)
	}
}

// Hang keeps the client waiting until it gives up.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		// The server sees that a client has gone only once it has read what that sent.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
}

// EndWatch ends a watch at once, without an event.
func EndWatch() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(http.StatusOK)
	}
}

// BreakWatch opens a watch, sends half an event and closes the connection.
func BreakWatch() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(`{"type":"MODIFIED","obj`))
		flush(w)
		panic(http.ErrAbortHandler)
	}
}

// SilentWatch opens a watch and never sends anything on it, not even its end.
func SilentWatch() Fault {
	return func(w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(http.StatusOK)
		flush(w)
		<-r.Context().Done()
	}
}

// WatchError opens a watch that consists of an ERROR event.
func WatchError(code int, reason metav1.StatusReason) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(http.StatusOK)
		send(w, "ERROR", failure(code, reason, "the watch is over"))
	}
}

// WatchEvent opens a watch that shows one event and then ends.
func WatchEvent(kind string, object any) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
		w.WriteHeader(http.StatusOK)
		send(w, kind, object)
	}
}
