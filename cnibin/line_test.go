// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// peer is a server that counts the connections made to it.
type peer struct {
	*httptest.Server
	connections atomic.Int32
}

func newPeer(t *testing.T, handle http.HandlerFunc) *peer {
	t.Helper()
	p := &peer{Server: httptest.NewUnstartedServer(handle)}
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			p.connections.Add(1)
		}
	}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *peer) line(t *testing.T) *line {
	t.Helper()
	server, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	ca := x509.NewCertPool()
	ca.AddCert(p.Certificate())
	return newLine(access{server: server, ca: ca})
}

// ask sends a request with a body and returns at most the first n bytes of the answer's.
func ask(t *testing.T, l *line, n int64) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.address+"/", strings.NewReader("question"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.do(ctx, req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, n))
	return fmt.Sprint(resp.StatusCode, " ", string(body)), err
}

func TestLineKeepsItsConnection(t *testing.T) {
	answer := strings.Repeat("answer ", 2000) // more than one buffer
	tests := map[string]struct {
		handle http.HandlerFunc
		read   int64
		want   string
		// wantConnections are those of three requests.
		wantConnections int32
	}{
		"for a body of known length": {
			handle: func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", fmt.Sprint(len(answer)))
				_, _ = io.WriteString(rw, answer)
			},
			read: 1 << 20, want: "200 " + answer, wantConnections: 1,
		},
		"for a body in chunks": {
			handle: func(rw http.ResponseWriter, _ *http.Request) {
				for part := range strings.SplitAfterSeq(answer, " ") {
					_, _ = io.WriteString(rw, part)
					rw.(http.Flusher).Flush()
				}
			},
			read: 1 << 20, want: "200 " + answer, wantConnections: 1,
		},
		"for no body": {
			handle: func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) },
			read:   1 << 20, want: "204 ", wantConnections: 1,
		},
		"through what announces a response": {
			handle: func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(http.StatusEarlyHints)
				rw.WriteHeader(http.StatusCreated)
			},
			read: 1 << 20, want: "201 ", wantConnections: 1,
		},
		"but not after a body that was left": {
			handle: func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, answer) },
			read:   6, want: "200 answer", wantConnections: 3,
		},
		"but not when the server closes it": {
			handle: func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Connection", "close") },
			read:   1 << 20, want: "200 ", wantConnections: 3,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, tt.handle)
			l := p.line(t)
			defer l.hangUp()
			for range 3 {
				if got, err := ask(t, l, tt.read); err != nil || got != tt.want {
					t.Fatalf("got %.40q, %v; want %.40q", got, err, tt.want)
				}
			}
			if got := p.connections.Load(); got != tt.wantConnections {
				t.Errorf("%d connections, want %d", got, tt.wantConnections)
			}
		})
	}
}

// A connection that the server has given up fails one request, and the next has another connection.
func TestLineAfterABrokenConnection(t *testing.T) {
	p := newPeer(t, func(http.ResponseWriter, *http.Request) {})
	l := p.line(t)
	defer l.hangUp()
	if _, err := ask(t, l, 1); err != nil {
		t.Fatal(err)
	}
	p.CloseClientConnections()
	if _, err := ask(t, l, 1); err == nil || !isTransient(err) {
		t.Fatalf("a broken connection gives %v, want what may be tried again", err)
	}
	if _, err := ask(t, l, 1); err != nil {
		t.Errorf("the next request: %v", err)
	}
}

// The deadline of the context ends a handshake and a response that do not come.
func TestLineWithASilentPeer(t *testing.T) {
	silence, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silence.Close()
	end := make(chan struct{})
	p := newPeer(t, func(http.ResponseWriter, *http.Request) { <-end })
	defer close(end)
	tests := map[string]*line{
		"before the handshake": newLine(access{server: &url.URL{Scheme: "https", Host: silence.Addr().String()}}),
		"after the request":    p.line(t),
	}
	for name, l := range tests {
		t.Run(name, func(t *testing.T) {
			defer l.hangUp()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.address+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := l.do(ctx, req)
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() == nil {
				t.Errorf("got %v with the context at %v, want a deadline that both have seen", err, ctx.Err())
			}
		})
	}
}
