// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// loopback stands for the node: any free port for the one that is asked for.
type loopback struct {
	at   map[uint16]string
	fail error
}

func (l *loopback) listen(port uint16) (net.Listener, error) {
	if l.fail != nil {
		return nil, l.fail
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.at[port] = listener.Addr().String()
	}
	return listener, err
}

func TestHealthChecks(t *testing.T) {
	l := &loopback{at: map[uint16]string{}}
	h := newHealth()
	h.listen = l.listen
	web := types.NamespacedName{Namespace: "ns", Name: "web"}
	say := func(port uint16, local int) error {
		return h.update(map[types.NamespacedName]*services.HealthCheck{web: {Port: port, Local: local}})
	}
	l.fail = errors.New("in use")
	if err := say(32000, 0); !errors.Is(err, l.fail) {
		t.Errorf("error = %v, want %v", err, l.fail)
	}
	l.fail = nil
	if err := say(32000, 0); err != nil {
		t.Fatal(err)
	}
	wantHealth(t, l.at[32000], http.StatusServiceUnavailable, 0)
	if err := say(32000, 2); err != nil {
		t.Fatal(err)
	}
	wantHealth(t, l.at[32000], http.StatusOK, 2)
	if err := say(32001, 1); err != nil {
		t.Fatal(err)
	}
	wantHealth(t, l.at[32001], http.StatusOK, 1)
	if err := h.update(map[types.NamespacedName]*services.HealthCheck{web: nil}); err != nil {
		t.Fatal(err)
	}
	for port, at := range l.at {
		if response, err := http.Get("http://" + at); err == nil {
			response.Body.Close()
			t.Errorf("port %d still answers", port)
		}
	}
}

func wantHealth(t *testing.T, at string, code, local int) {
	t.Helper()
	response, err := http.Get("http://" + at + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := any(map[string]any{
		"service": map[string]any{"namespace": "ns", "name": "web"}, "localEndpoints": float64(local), "serviceProxyHealthy": true,
	})
	if diff := cmp.Diff(want, got); diff != "" || response.StatusCode != code {
		t.Errorf("%d, want %d (-want +got):\n%s", response.StatusCode, code, diff)
	}
	if weight := response.Header.Get("X-Load-Balancing-Endpoint-Weight"); weight != fmt.Sprint(local) {
		t.Errorf("weight = %s, want %d", weight, local)
	}
}
