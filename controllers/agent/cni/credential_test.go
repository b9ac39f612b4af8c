// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clocktesting "k8s.io/utils/clock/testing"
)

// token is a JWT that ends at a time.
func token(ends time.Time) string {
	claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, ends.Unix()))
	return "header." + claims + ".signature"
}

// newCredential is one in a folder of the test, with a token file.
func newCredential(t *testing.T, content string) (*Credential, *clocktesting.FakeClock, func(string)) {
	t.Helper()
	dir := t.TempDir()
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(content)
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	config := &rest.Config{Host: "https://192.0.2.1:6443", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("authority")}}
	c, err := NewCredential(config, filepath.Join(dir, "token"), filepath.Join(dir, "run"), clock)
	if err != nil {
		t.Fatal(err)
	}
	return c, clock, put
}

func TestCredentialIsAKubeconfig(t *testing.T) {
	c, _, _ := newCredential(t, "secret\n")
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.BuildConfigFromFlags("", c.path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://192.0.2.1:6443" || got.BearerToken != "secret" || string(got.CAData) != "authority" {
		t.Errorf("the kubeconfig says %s, %s, %s", got.Host, got.BearerToken, got.CAData)
	}
	info, err := os.Stat(c.path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(os.FileMode(0o600), info.Mode()); diff != "" {
		t.Errorf("mode (-want +got):\n%s", diff)
	}
}

func TestExpires(t *testing.T) {
	ends := time.Unix(2000, 0)
	tests := map[string]struct {
		token string
		want  time.Time
	}{
		"a token that ends":         {token: token(ends), want: ends},
		"no token of three parts":   {token: "secret"},
		"a claim that is no JSON":   {token: "a." + base64.RawURLEncoding.EncodeToString([]byte("b")) + ".c"},
		"a claim in no base64":      {token: "a.!.c"},
		"a token without an end":    {token: "a." + base64.RawURLEncoding.EncodeToString([]byte("{}")) + ".c"},
		"a token with a line's end": {token: token(ends) + "\n", want: ends},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, _ := newCredential(t, tt.token)
			if err := c.Write(); err != nil {
				t.Fatal(err)
			}
			if got := c.Expires(); !got.Equal(tt.want) {
				t.Errorf("expires %s, want %s", got, tt.want)
			}
		})
	}
}

// The kubelet renews the token; somebody removes the kubeconfig.
func TestCredentialIsKeptCurrent(t *testing.T) {
	c, clock, put := newCredential(t, token(time.Unix(2000, 0)))
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Start(t.Context()) }()
	within(t, clock.HasWaiters)
	put(token(time.Unix(3000, 0)))
	clock.Step(rotateEvery)
	within(t, func() bool { return c.Expires().Equal(time.Unix(3000, 0)) })
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	clock.Step(rotateEvery)
	within(t, func() bool { _, err := os.Stat(c.path); return err == nil })
}

func TestCredentialWithoutToken(t *testing.T) {
	c, _, _ := newCredential(t, "secret")
	if err := os.Remove(c.tokenFile); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(); err == nil {
		t.Error("no error without a token")
	}
}

func TestRemoveShared(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{kubeconfigName, heartbeatName, "deletes/c1-eth0", "other"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := RemoveShared(dir); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "other" {
		t.Errorf("left: %v, %v", entries, err)
	}
}
