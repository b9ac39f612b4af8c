// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseConf(t *testing.T) {
	cases := map[string]struct {
		stdin     string
		wantCode  uint
		wantTexts []string
	}{
		"all there":       {stdin: `{"kubeconfig":"/k","nodeName":"node1","runDir":"/r"}`},
		"no kubeconfig":   {stdin: `{"nodeName":"node1","runDir":"/r"}`, wantCode: 7, wantTexts: []string{"kubeconfig is missing"}},
		"no nodeName":     {stdin: `{"kubeconfig":"/k","runDir":"/r"}`, wantCode: 7, wantTexts: []string{"nodeName is missing"}},
		"no runDir":       {stdin: `{"kubeconfig":"/k","nodeName":"node1"}`, wantCode: 7, wantTexts: []string{"runDir is missing"}},
		"relative runDir": {stdin: `{"kubeconfig":"/k","nodeName":"node1","runDir":"r"}`, wantCode: 7, wantTexts: []string{`runDir is "r"`}},
		"a nodeName with a slash": {
			stdin: `{"kubeconfig":"/k","nodeName":"../n","runDir":"/r"}`, wantCode: 7, wantTexts: []string{`nodeName is "../n"`},
		},
		"a nodeName that is a number": {
			stdin: `{"kubeconfig":"/k","nodeName":1,"runDir":"/r"}`, wantCode: 7, wantTexts: []string{"nodeName"},
		},
		"no JSON": {stdin: `kubeconfig: /k`, wantCode: 7, wantTexts: []string{"parse the network configuration"}},
		"nothing": {stdin: ``, wantCode: 7, wantTexts: []string{"parse the network configuration"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parseConf([]byte(tc.stdin))
			wantError(t, err, tc.wantCode, tc.wantTexts...)
		})
	}
}

func TestParseArgs(t *testing.T) {
	const web = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=pod-1"
	cases := map[string]struct {
		args      string
		want      podRef
		wantCode  uint
		wantTexts []string
	}{
		"what the kubelet's runtimes send": {
			args: "IgnoreUnknown=1;" + web + ";K8S_POD_INFRA_CONTAINER_ID=x",
			want: podRef{namespace: "default", name: "web", uid: "pod-1"},
		},
		"a semicolon at the end":   {args: web + ";", want: podRef{namespace: "default", name: "web", uid: "pod-1"}},
		"a value with an = in it":  {args: web + ";X=a=b", want: podRef{namespace: "default", name: "web", uid: "pod-1"}},
		"nothing":                  {wantCode: 4, wantTexts: []string{"K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID missing"}},
		"an empty name":            {args: web + ";K8S_POD_NAME=", wantCode: 4, wantTexts: []string{"K8S_POD_NAME missing"}},
		"a word without a value":   {args: web + ";X", wantCode: 4, wantTexts: []string{`"X" is not KEY=VALUE`}},
		"a name with a slash":      {args: web + ";K8S_POD_NAME=a/b", wantCode: 4, wantTexts: []string{`K8S_POD_NAME "a/b"`}},
		"a name of dots":           {args: web + ";K8S_POD_NAME=..", wantCode: 4, wantTexts: []string{"K8S_POD_NAME"}},
		"a namespace with a dot":   {args: web + ";K8S_POD_NAMESPACE=a.b", wantCode: 4, wantTexts: []string{"K8S_POD_NAMESPACE"}},
		"a name that is too long":  {args: web + ";K8S_POD_NAME=" + strings.Repeat("a", 254), wantCode: 4},
		"a UID that is too long":   {args: web + ";K8S_POD_UID=" + strings.Repeat("a", 129), wantCode: 4},
		"a name in capital letter": {args: web + ";K8S_POD_NAME=Web", wantCode: 4},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseArgs(tc.args)
			wantError(t, err, tc.wantCode, tc.wantTexts...)
			wantEqual(t, true, err != nil || got == tc.want)
		})
	}
}

func TestParseKubeconfig(t *testing.T) {
	w := newWorld(t)
	good := string(w.Kubeconfig(t, "token-1"))
	cases := map[string]struct {
		file     string
		wantText string
	}{
		"as the agent writes it":   {file: good},
		"YAML":                     {file: "apiVersion: v1", wantText: "JSON"},
		"a context that is absent": {file: strings.ReplaceAll(good, `"current-context":"x"`, `"current-context":"y"`), wantText: `no context "y"`},
		"no token":                 {file: strings.ReplaceAll(good, "token-1", ""), wantText: "no token"},
		"a user that is absent":    {file: strings.ReplaceAll(good, `"user":"u"`, `"user":"v"`), wantText: "no token"},
		"a cluster that is absent": {file: strings.ReplaceAll(good, `"cluster":"c"`, `"cluster":"d"`), wantText: "https://"},
		"a server without TLS":     {file: strings.ReplaceAll(good, "https://", "http://"), wantText: "https://"},
		"a server that is no URL":  {file: strings.ReplaceAll(good, "https://", "https://%"), wantText: "server"},
		"a CA that is no PEM":      {file: strings.ReplaceAll(good, "LS0t", "AAAA"), wantText: "no certificate"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parseKubeconfig([]byte(tc.file))
			text := ""
			if err != nil {
				text = err.Error()
			}
			wantEqual(t, true, strings.Contains(text, tc.wantText) && (err == nil) == (tc.wantText == ""))
		})
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"cilium","kubeconfig":"/k","nodeName":"node1","runDir":"/r"}`))
	f.Add([]byte(`{"runDir":"/r","prevResult":{},"cni.dev/valid-attachments":[{"containerID":"a","ifname":"b"}]}`))
	f.Add([]byte(`{"nodeName":{}}`))
	f.Fuzz(func(t *testing.T, stdin []byte) {
		conf, err := parseConf(stdin)
		if err != nil {
			return
		}
		if !filepath.IsAbs(conf.Kubeconfig) || !filepath.IsAbs(conf.RunDir) || !validName(conf.NodeName) {
			t.Errorf("accepted %+v", conf)
		}
		if _, err := json.Marshal(conf); err != nil {
			t.Error(err)
		}
		// Whatever prevResult holds, it is a result or an error.
		_, _ = previousResult(conf)
	})
}

func FuzzParseArgs(f *testing.F) {
	f.Add("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=pod-1")
	f.Add(";=;==;K8S_POD_NAME=../../x")
	f.Fuzz(func(t *testing.T, args string) {
		pod, err := parseArgs(args)
		if err != nil {
			return
		}
		path := objectPath(pod.namespace, pod.name)
		if pod.uid == "" || strings.Count(path, "/") != 7 || strings.Contains(path, "..") && !strings.Contains(pod.name, "..") {
			t.Errorf("accepted %+v, path %s", pod, path)
		}
	})
}

func FuzzParseKubeconfig(f *testing.F) {
	f.Add([]byte(`{"current-context":"x","contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"https://[::1]:6443","certificate-authority-data":"AAAA"}}],` +
		`"users":[{"name":"u","user":{"token":"t"}}]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := parseKubeconfig(file)
		if err == nil && (a.server.Scheme != "https" || a.token == "") {
			t.Errorf("accepted %+v", a)
		}
	})
}
