// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

// kubeconfig is the file that the agent keeps for this plugin: a valid kubeconfig, written as JSON because a YAML parser
// would cost more than the rest of the start.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token string `json:"token"`
		} `json:"user"`
	} `json:"users"`
}

// access is the way to the apiserver.
type access struct {
	server *url.URL
	ca     *x509.CertPool
	token  string
}

func parseKubeconfig(data []byte) (access, error) {
	file := kubeconfig{}
	if err := json.Unmarshal(data, &file); err != nil {
		return access{}, fmt.Errorf("parse as JSON: %w", err)
	}
	a := access{}
	for _, c := range file.Contexts {
		if c.Name != file.CurrentContext {
			continue
		}
		server, ca := file.cluster(c.Context.Cluster)
		a.token = file.token(c.Context.User)
		return a, a.parse(server, ca)
	}
	return access{}, fmt.Errorf("no context %q", file.CurrentContext)
}

func (a *access) parse(server string, ca []byte) error {
	var err error
	if a.server, err = url.Parse(server); err != nil {
		return fmt.Errorf("parse the server's address: %w", err)
	}
	// Anything but TLS would show the token to the network.
	if a.server.Scheme != "https" || a.server.Host == "" {
		return fmt.Errorf("server %q is not an https:// address", server)
	}
	if a.token == "" {
		return errors.New("no token")
	}
	a.ca = x509.NewCertPool()
	if !a.ca.AppendCertsFromPEM(ca) {
		return errors.New("certificate-authority-data holds no certificate")
	}
	return nil
}

func (k *kubeconfig) cluster(name string) (server string, ca []byte) {
	for _, c := range k.Clusters {
		if c.Name == name {
			return c.Cluster.Server, c.Cluster.CA
		}
	}
	return "", nil
}

func (k *kubeconfig) token(user string) string {
	for _, u := range k.Users {
		if u.Name == user {
			return u.User.Token
		}
	}
	return ""
}
