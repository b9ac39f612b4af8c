// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/controllers/agent"
	"github.com/ciliate-io/ciliate/controllers/agent/cni"
	"github.com/ciliate-io/ciliate/internal/config"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/logging"
)

const (
	settingsVariable = "CILIATE_TEST_SETTINGS"
	bootID           = "boot-1"
	// patience is how long the test waits for anything, on a machine that does other things too.
	patience = 30 * time.Second
)

// settings are what the test tells an agent.
type settings struct {
	Kubeconfig string       `json:"kubeconfig"`
	NodeName   string       `json:"nodeName"`
	Agent      config.Agent `json:"agent"`
	// Trouble is what the agent's datapath, or its client, does instead of its work.
	Trouble []trouble `json:"trouble"`
}

// runAgent is the process of an agent: what cmd/agent does, with the troubles that a test orders.
func runAgent(ctx context.Context) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		die()
	}()
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(settingsVariable)), &s); err != nil {
		return err
	}
	s.Agent.NodeName = s.NodeName
	ctrl.SetLogger(logging.New(s.Agent.LogLevel))
	rc, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	rc.QPS = -1
	troubles := &troubled{troubles: s.Trouble}
	rc.Wrap(troubles.writes)
	credential, err := cni.NewCredential(rc, s.Agent.TokenFile, s.Agent.RunDir, clock.RealClock{})
	if err != nil {
		return err
	}
	if err := credential.Write(); err != nil {
		return err
	}
	scheme, err := agent.NewScheme()
	if err != nil {
		return err
	}
	direct, err := client.New(rc, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	cluster, err := agent.WaitForConfig(ctx, direct, func(reason string) { say("waiting", reason) })
	if err != nil {
		return err
	}
	mgr, remote, err := agent.NewManager(ctx, rc, scheme, s.Agent)
	if err != nil {
		return err
	}
	datapath, err := kernel.Open(ctx, agent.DatapathConfig(cluster, s.Agent))
	if err != nil {
		return err
	}
	defer func() { _ = datapath.Close() }()
	troubles.Datapath = datapath
	start, err := agent.Setup(ctx, mgr, remote, agent.Deps{
		Config: s.Agent, Cluster: *cluster, BootID: bootID, Datapath: troubles,
		Credential: credential, Clock: clock.RealClock{}, Seed: 1,
	})
	if err != nil {
		return err
	}
	go report(ctx, start)
	return mgr.Start(ctx)
}

// report says when the agent is ready, and until then what it waits for.
func report(ctx context.Context, start *agent.Start) {
	for last := ""; ctx.Err() == nil; {
		err := start.Ready()
		if err == nil {
			say("ready", "")
			return
		}
		if err.Error() != last {
			last = err.Error()
			say("waiting", last)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// say tells the test something, on the standard output.
func say(word, more string) { fmt.Printf("%s %s\n", word, strings.ReplaceAll(more, "\n", " ")) }

// process is a running agent, as the test sees it.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	begin time.Time
	// said are the lines that it says; ended is closed when it has ended.
	said  chan string
	ended chan struct{}
}

// start runs an agent on the node, with troubles.
func (n *node) start(troubles ...trouble) *process {
	n.t.Helper()
	settings, err := json.Marshal(settings{Kubeconfig: theCluster.kubeconfig, NodeName: n.name, Agent: n.settings, Trouble: troubles})
	if err != nil {
		n.t.Fatal(err)
	}
	p := &process{t: n.t, begin: time.Now(), said: make(chan string, 1024), ended: make(chan struct{})}
	p.cmd = exec.Command("/proc/self/exe", "-test.run", "^$")
	p.cmd.Env = append(os.Environ(), role+"=agent", settingsVariable+"="+string(settings))
	// The pipe ends with the test, however that ends. (A death signal would come when the thread ends that started it.)
	if _, err := p.cmd.StdinPipe(); err != nil {
		n.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	go p.listen(out)
	n.t.Cleanup(p.end)
	return p
}

func (p *process) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.said <- lines.Text()
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

// hear waits until the agent says a line with these words, and returns how long after its start that was.
func (p *process) hear(words string) time.Duration {
	p.t.Helper()
	var heard []string
	for deadline := time.After(patience); ; {
		select {
		case line := <-p.said:
			if strings.Contains(line, words) {
				return time.Since(p.begin).Round(time.Millisecond)
			}
			heard = append(heard, line)
		case <-p.ended:
			p.t.Fatalf("the agent ended and never said %q, but:\n%s", words, strings.Join(heard, "\n"))
		case <-deadline:
			p.t.Fatalf("the agent did not say %q, but:\n%s", words, strings.Join(heard, "\n"))
		}
	}
}

// ready waits until the agent serves.
func (p *process) ready() time.Duration { p.t.Helper(); return p.hear("ready ") }

// end ends the agent at the end of a test; after a failure it says in its log what it is doing.
func (p *process) end() {
	if p.t.Failed() {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.ended
	}
	p.kill()
}

// kill ends the agent as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// died waits for the agent to die by itself.
func (p *process) died() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("the agent lives")
	}
}

// stop ends the agent as the kubelet does.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.died()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("the agent ended with code %d when it was told to stop", code)
	}
}

// agentSettings are the process settings of an agent on a node of the test.
func agentSettings(dir string) config.Agent {
	return config.Agent{
		MetricsAddr: "0", LogLevel: "info", RunDir: filepath.Join(dir, "run"), NetnsDir: "/run/netns",
		CNIConfDir: filepath.Join(dir, "net.d"), BPFFS: filepath.Join(theCluster.dir, "bpf", "ciliate"), ProcSysNet: "/proc/sys/net",
		TokenFile: filepath.Join(dir, "token"),
	}
}
