// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/test/build"
)

func TestPodOfAnEndpoint(t *testing.T) {
	static := func() client.Object { return webEndpoint().PodUID("static-1").Obj() }
	tests := map[string]struct {
		cep  client.Object
		pod  client.Object
		wait time.Duration
		want string
	}{
		"its pod is there":                    {cep: webEndpoint().Obj(), pod: webPod().Obj(), want: "True/Ready"},
		"no pod yet, at once":                 {cep: webEndpoint().Obj(), want: ""},
		"no pod yet, after a second":          {cep: webEndpoint().Obj(), wait: publishAfter, want: "False/WaitingForPod"},
		"no pod after its patience":           {cep: webEndpoint().Obj(), wait: podPatience, want: "False/PodMismatch"},
		"a pod of another UID":                {cep: webEndpoint().Obj(), pod: webPod().UID("other").Obj(), wait: podPatience, want: "False/PodMismatch"},
		"a pod bound to another node":         {cep: webEndpoint().Obj(), pod: webPod().OnNode("n2").Obj(), wait: podPatience, want: "False/PodMismatch"},
		"a pod in the node's network":         {cep: webEndpoint().Obj(), pod: webPod().HostNetwork().Obj(), want: "False/HostNetwork"},
		"the mirror of a static pod":          {cep: static(), pod: webPod().MirrorOf("static-1").Obj(), want: "True/Ready"},
		"the mirror of another static pod":    {cep: static(), pod: webPod().MirrorOf("static-2").Obj(), wait: podPatience, want: "False/PodMismatch"},
		"a static pod before its mirror came": {cep: static(), wait: publishAfter, want: "False/WaitingForPod"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{tt.cep, defaultNamespace(), identityOf("1001", "web")}
			if tt.pod != nil {
				objects = append(objects, tt.pod)
			}
			w := newWorld(t, objects...)
			w.mustRun(podName)
			w.clock.Step(tt.wait)
			w.mustRun(podName)
			if got := w.ready(podName); got != tt.want {
				t.Errorf("Ready is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMirrorIsRecorded(t *testing.T) {
	mirror := webPod().MirrorOf("static-1").Obj()
	w := newWorld(t, webEndpoint().PodUID("static-1").Obj(), mirror, defaultNamespace(), identityOf("1001", "web"))
	w.mustRun(podName)
	if got := w.get(podName).Status.MirrorPodUID; got != string(mirror.UID) {
		t.Errorf("mirrorPodUID is %q, want %q", got, mirror.UID)
	}
}

func TestCacheThatIsBehindIsNotBelieved(t *testing.T) {
	w := newWorld(t, straight()...)
	w.behind[podName] = true
	pod := webPod().Obj()
	if err := w.findPod(t.Context(), w.attachments.ensure(w.get(podName), w.clock.Now())); err != nil {
		t.Fatal(err)
	}
	if a := w.attachments.get(key(podName)); a.pod == nil || a.pod.UID != pod.UID {
		t.Errorf("the apiserver's pod was not found: %v", a.pod)
	}
}

// What pod-lifecycle.md says of a Pod that is gone: DEL 3.
func TestEndpointWhosePodIsGone(t *testing.T) {
	tests := map[string]struct {
		static bool
		netns  bool
		gone   time.Duration
		want   string
	}{
		"is served for its grace":                       {netns: true, gone: podGrace - time.Second, want: "True/Ready"},
		"is ended after its grace":                      {netns: true, gone: podGrace, want: "gone"},
		"is terminal without its namespace":             {gone: podGrace - time.Second, want: "False/SandboxGone"},
		"is ended without its namespace too":            {gone: podGrace, want: "gone"},
		"is never judged by its mirror":                 {static: true, netns: true, gone: time.Hour, want: "True/Ready"},
		"is ended with its namespace when it is static": {static: true, gone: podGrace, want: "gone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cep, pod := webEndpoint(), webPod()
			if tt.static {
				cep, pod = cep.PodUID("static-1"), pod.MirrorOf("static-1")
			}
			w := newWorld(t, cep.Obj(), pod.Obj(), defaultNamespace(), identityOf("1001", "web"))
			w.mustRun(podName)
			w.remove(pod.Obj())
			if !tt.netns {
				w.closeSandbox("c1")
			}
			w.mustRun(podName)
			w.clock.Step(tt.gone)
			w.mustRun(podName) // may delete the object
			w.mustRun(podName) // and then finalize it
			if got := w.ready(podName); got != tt.want {
				t.Errorf("Ready is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPodThatComesBackIsForgiven(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	w.remove(webPod().Obj())
	w.mustRun(podName)
	w.clock.Step(podGrace - time.Second)
	w.create(webPod().Obj())
	w.mustRun(podName)
	w.remove(webPod().Obj())
	w.clock.Step(2 * time.Second)
	w.mustRun(podName)
	if got := w.ready(podName); got != "True/Ready" {
		t.Errorf("Ready is %q: the grace did not begin anew", got)
	}
}

func TestOrphanIsLookedAtWhenItsGraceEnds(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	w.remove(webPod().Obj())
	if got := w.mustRun(podName).RequeueAfter; got != podGrace {
		t.Errorf("again after %s, want %s", got, podGrace)
	}
	w.clock.Step(podGrace / 2)
	if got := w.mustRun(podName).RequeueAfter; got != podGrace/2 {
		t.Errorf("again after %s, want %s", got, podGrace/2)
	}
}

// A restarted agent finds a sandbox that the kernel serves and no Pod: it must not cut it off.
func TestRestartWithoutPod(t *testing.T) {
	tests := map[string]struct {
		static bool
		after  time.Duration
		want   string
	}{
		"an orphan keeps its grace": {after: podPatience, want: "True/Ready"},
		"an orphan ends after it":   {after: podGrace, want: "gone"},
		"a static pod lives on":     {static: true, after: time.Hour, want: "True/Ready"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cep, pod := webEndpoint(), webPod()
			if tt.static {
				cep, pod = cep.PodUID("static-1"), pod.MirrorOf("static-1")
			}
			w := newWorld(t, cep.Obj(), pod.Obj(), defaultNamespace(), identityOf("1001", "web"))
			w.mustRun(podName)
			w.remove(pod.Obj())
			w.restart()
			w.mustRun(podName)
			w.clock.Step(tt.after)
			w.mustRun(podName)
			w.mustRun(podName)
			if got := w.ready(podName); got != tt.want {
				t.Errorf("Ready is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEndpointOfAnotherNodeIsNotOfThisCache(t *testing.T) {
	// The cache's field selector keeps it out (manager.go); what is here is that a Pod elsewhere is no Pod of ours.
	w := newWorld(t)
	if w.isPodOf(build.Pod(podName).OnNode("n2").Obj(), webEndpoint().Obj()) {
		t.Error("a pod of another node was taken for the endpoint's")
	}
}
