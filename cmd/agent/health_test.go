// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestReadiness(t *testing.T) {
	tests := map[string]struct {
		deed func(*health)
		code int
		body string
	}{
		"from the first moment":   {deed: func(*health) {}, code: 503, body: "The agent is starting"},
		"while something is away": {deed: func(h *health) { h.waitFor("CiliumConfig default does not exist yet") }, code: 503, body: "CiliumConfig default"},
		"once it serves":          {deed: func(h *health) { h.ask(func() error { return nil }) }, code: 200, body: "ok"},
		"when it does no longer":  {deed: func(h *health) { h.ask(func() error { return errors.New("another file comes first") }) }, code: 503, body: "another file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHealth()
			tt.deed(h)
			answer := httptest.NewRecorder()
			h.readyz(answer, nil)
			if answer.Code != tt.code || !strings.Contains(answer.Body.String(), tt.body) {
				t.Errorf("the answer is %d %q, want %d %q", answer.Code, answer.Body, tt.code, tt.body)
			}
		})
	}
}

func TestListen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := freeAddress(t)
	if err := newHealth().listen(ctx, addr); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get("http://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 200 || string(body) != "ok\n" {
		t.Errorf("the answer is %d %q", answer.StatusCode, body)
	}
	if err := newHealth().listen(ctx, addr); err == nil {
		t.Error("a port that is taken is no error")
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("it listens after its end")
		}
	}
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
