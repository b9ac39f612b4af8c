// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// kubeconfigName is the CNI plugin's credential in the run folder.
	kubeconfigName = "cni.kubeconfig"
	// rotateEvery is how often the token file is read: the kubelet renews it at 80 % of its life, so this is early enough
	// by far, and a new pod's token must not be late.
	rotateEvery = 5 * time.Second
)

// Credential copies the agent's projected token into the kubeconfig of the CNI plugin whenever it changes.
type Credential struct {
	path      string
	tokenFile string
	server    string
	ca        []byte
	clock     clock.WithTicker

	mu      sync.Mutex
	expires time.Time
}

// NewCredential describes the kubeconfig in runDir for the apiserver of config.
func NewCredential(config *rest.Config, tokenFile, runDir string, c clock.WithTicker) (*Credential, error) {
	ca := config.CAData
	if len(ca) == 0 {
		var err error
		if ca, err = os.ReadFile(config.CAFile); err != nil {
			return nil, fmt.Errorf("read the apiserver's certificate authority: %w", err)
		}
	}
	return &Credential{
		path: filepath.Join(runDir, kubeconfigName), tokenFile: tokenFile, server: config.Host, ca: ca, clock: c,
	}, nil
}

// Expires is when the token in the kubeconfig ends; zero when it does not say.
func (c *Credential) Expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expires
}

// Write puts the present token into the kubeconfig if it is another than there, or the file is gone.
func (c *Credential) Write() error {
	token, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return fmt.Errorf("read the service account token: %w", err)
	}
	token = bytes.TrimSpace(token)
	c.mu.Lock()
	defer c.mu.Unlock()
	kubeconfig, err := c.kubeconfig(token)
	if err != nil {
		return err
	}
	c.expires = expiry(token)
	if have, err := os.ReadFile(c.path); err == nil && bytes.Equal(have, kubeconfig) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return fmt.Errorf("make the run folder: %w", err)
	}
	return writeFile(c.path, kubeconfig, 0o600)
}

// kubeconfig is JSON, which is YAML too: the plugin needs no YAML parser.
func (c *Credential) kubeconfig(token []byte) ([]byte, error) {
	named := func(kind string, value map[string]any) []map[string]any {
		return []map[string]any{{"name": "cilium-cni", kind: value}}
	}
	return json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "cilium-cni",
		"clusters": named("cluster", map[string]any{"server": c.server, "certificate-authority-data": base64.StdEncoding.EncodeToString(c.ca)}),
		"users":    named("user", map[string]any{"token": string(token)}),
		"contexts": named("context", map[string]any{"cluster": "cilium-cni", "user": "cilium-cni"}),
	})
}

// expiry is the claim "exp" of a JWT; zero when there is none. The token is ours: its signature is the apiserver's
// business.
func expiry(token []byte) time.Time {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}

// Start keeps the kubeconfig current until ctx ends.
func (c *Credential) Start(ctx context.Context) error {
	ticker := c.clock.NewTicker(rotateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := c.Write(); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Renewing the CNI plugin's credential")
			}
		}
	}
}
