// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Agent holds the process settings of cilium-agent. What the cluster decides is in CiliumConfig.
type Agent struct {
	// NodeName is the name of the Node on which the agent runs. From the environment variable NODE_NAME.
	NodeName string `json:"-"`
	// MetricsAddr is where Prometheus metrics are served; default ":9962".
	MetricsAddr string `json:"metricsAddr"`
	// HealthAddr is where /healthz and /readyz are served; default "127.0.0.1:9879".
	HealthAddr string `json:"healthAddr"`
	// LogLevel is debug, info or error; default "info".
	LogLevel string `json:"logLevel"`
	// RunDir holds what agent and CNI plugin share on the node; default "/run/cilium". Same path inside and outside the
	// agent's pod.
	RunDir string `json:"runDir"`
	// NetnsDir is where the runtime keeps the network namespaces of pods; default "/run/netns".
	NetnsDir string `json:"netnsDir"`
	// CNIConfDir is the runtime's folder of CNI configuration files, as the agent's pod sees it; default
	// "/host/etc/cni/net.d".
	CNIConfDir string `json:"cniConfDir"`
	// CNIBinDir is the runtime's folder of CNI plugins, as the install container sees it; default "/host/opt/cni/bin".
	CNIBinDir string `json:"cniBinDir"`
	// BPFFS is the folder on a bpf file system that holds our pinned maps; default "/sys/fs/bpf/ciliate".
	BPFFS string `json:"bpffs"`
	// ProcSysNet is a writable view of /proc/sys/net; default "/host/proc/sys/net".
	ProcSysNet string `json:"procSysNet"`
	// Cgroup is the node's /sys/fs/cgroup, whose root of version 2 gets the programs that translate Services at sockets;
	// default "/host/sys/fs/cgroup". Empty means that Services are not translated.
	Cgroup string `json:"cgroup"`
	// BootIDFile holds the node's boot ID; default "/host/proc/sys/kernel/random/boot_id".
	BootIDFile string `json:"bootIDFile"`
	// TokenFile is the agent's projected service account token, which the CNI plugin shares; default the usual place.
	TokenFile string `json:"tokenFile"`
}

// LoadAgent reads the YAML file at path over the defaults; env is the environment lookup (os.Getenv).
func LoadAgent(path string, env func(string) string) (Agent, error) {
	c := Agent{
		NodeName:    env("NODE_NAME"),
		MetricsAddr: ":9962",
		HealthAddr:  "127.0.0.1:9879",
		LogLevel:    "info",
		RunDir:      "/run/cilium",
		NetnsDir:    "/run/netns",
		CNIConfDir:  "/host/etc/cni/net.d",
		CNIBinDir:   "/host/opt/cni/bin",
		BPFFS:       "/sys/fs/bpf/ciliate",
		ProcSysNet:  "/host/proc/sys/net",
		Cgroup:      "/host/sys/fs/cgroup",
		BootIDFile:  "/host/proc/sys/kernel/random/boot_id",
		TokenFile:   "/var/run/secrets/kubernetes.io/serviceaccount/token",
	}
	if err := load(path, &c); err != nil {
		return Agent{}, err
	}
	return c, c.validate()
}

func (c Agent) validate() error {
	errs := []error{validateLogLevel(c.LogLevel)}
	if c.NodeName == "" {
		errs = append(errs, errors.New("the environment variable NODE_NAME is empty: set it from spec.nodeName"))
	}
	for _, p := range []struct{ name, path string }{
		{"runDir", c.RunDir},
		{"netnsDir", c.NetnsDir},
		{"cniConfDir", c.CNIConfDir},
		{"cniBinDir", c.CNIBinDir},
		{"bpffs", c.BPFFS},
		{"procSysNet", c.ProcSysNet},
		{"bootIDFile", c.BootIDFile},
		{"tokenFile", c.TokenFile},
	} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s %q is no absolute path", p.name, p.path))
		}
	}
	if c.Cgroup != "" && !filepath.IsAbs(c.Cgroup) {
		errs = append(errs, fmt.Errorf("cgroup %q is no absolute path", c.Cgroup))
	}
	return errors.Join(errs...)
}
