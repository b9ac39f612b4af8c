// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// netConf is the plugin's part of the conflist that the agent writes.
type netConf struct {
	CNIVersion string `json:"cniVersion"`
	Kubeconfig string `json:"kubeconfig"`
	NodeName   string `json:"nodeName"`
	RunDir     string `json:"runDir"`

	// PrevResult comes with CHECK (and with DEL, which does not need it).
	PrevResult json.RawMessage `json:"prevResult"`
	// ValidAttachments comes with GC. A pointer, because absent must never read as "none is valid".
	ValidAttachments *[]attachment `json:"cni.dev/valid-attachments"`
}

// attachment is one interface of one sandbox.
type attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// parseConf reads the netconf as every verb but DEL needs it.
func parseConf(stdin []byte) (*netConf, error) {
	conf, err := parseConfForDel(stdin)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(conf.Kubeconfig) {
		return nil, invalidConf("kubeconfig", "must be an absolute path", conf.Kubeconfig)
	}
	if !validName(conf.NodeName) {
		return nil, invalidConf("nodeName", "must be the name of this node", conf.NodeName)
	}
	return conf, nil
}

// parseConfForDel asks only for what a tombstone needs, so that a sandbox can always be torn down.
func parseConfForDel(stdin []byte) (*netConf, error) {
	conf := &netConf{}
	if err := json.Unmarshal(stdin, conf); err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "parse the network configuration", err.Error())
	}
	if !filepath.IsAbs(conf.RunDir) {
		return nil, invalidConf("runDir", "must be an absolute path", conf.RunDir)
	}
	return conf, nil
}

func invalidConf(field, rule, value string) error {
	if value == "" {
		return types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("network configuration: %s is missing: it %s", field, rule), "")
	}
	return types.NewError(types.ErrInvalidNetworkConfig,
		fmt.Sprintf("network configuration: %s is %q: it %s", field, value, rule), "")
}

// podRef is what CNI_ARGS says about the pod.
type podRef struct {
	namespace, name, uid string
}

// parseArgs reads CNI_ARGS, "KEY=VALUE;KEY=VALUE". Keys of others are left alone.
func parseArgs(args string) (podRef, error) {
	values := map[string]string{}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, found := strings.Cut(pair, "=")
		if !found && pair != "" {
			return podRef{}, invalidArgs(fmt.Sprintf("%q is not KEY=VALUE", pair))
		}
		values[key] = value
	}
	pod := podRef{
		namespace: values["K8S_POD_NAMESPACE"],
		name:      values["K8S_POD_NAME"],
		uid:       values["K8S_POD_UID"],
	}
	return pod, pod.validate()
}

func (r podRef) validate() error {
	var missing []string
	for _, arg := range []struct{ key, value string }{
		{"K8S_POD_NAMESPACE", r.namespace}, {"K8S_POD_NAME", r.name}, {"K8S_POD_UID", r.uid},
	} {
		if arg.value == "" {
			missing = append(missing, arg.key)
		}
	}
	switch {
	case len(missing) > 0:
		return invalidArgs(strings.Join(missing, ", ") + " missing")
	case !validName(r.namespace) || strings.Contains(r.namespace, "."):
		return invalidArgs(fmt.Sprintf("K8S_POD_NAMESPACE %q is not the name of a namespace", r.namespace))
	case !validName(r.name):
		return invalidArgs(fmt.Sprintf("K8S_POD_NAME %q is not the name of a pod", r.name))
	case len(r.uid) > 128:
		return invalidArgs("K8S_POD_UID is longer than 128 characters")
	}
	return nil
}

func invalidArgs(problem string) error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: "+problem, "")
}

// validName says whether s can be the name of an object: it becomes part of a URL's path.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 253 || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
