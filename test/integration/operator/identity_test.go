// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

// identities are those with app=value in the test's namespace, or with any labels of it when value is empty.
func (c *cluster) identities(app string) []v1alpha1.CiliumIdentity {
	c.t.Helper()
	var list v1alpha1.CiliumIdentityList
	c.check(c.List(c.t.Context(), &list))
	return slices.DeleteFunc(list.Items, func(id v1alpha1.CiliumIdentity) bool {
		return string(id.Spec.Labels[identity.KeyNamespace]) != c.namespace ||
			app != "" && string(id.Spec.Labels["k8s:app"]) != app
	})
}

// one waits until there is exactly one identity of app.
func (c *cluster) one(app string) *v1alpha1.CiliumIdentity {
	c.t.Helper()
	var list []v1alpha1.CiliumIdentity
	c.eventually("one identity of app "+app, func() error {
		if list = c.identities(app); len(list) != 1 {
			return fmt.Errorf("there are %d", len(list))
		}
		return nil
	})
	return &list[0]
}

// census makes the operator hold one now, by a change of the configuration that means nothing to identities.
func (c *cluster) census() {
	c.t.Helper()
	c.eventually("the configuration is changed", func() error {
		cfg := config()
		if err := c.get(cfg); err != nil {
			return err
		}
		cfg.Spec.TunnelPort++
		return c.Update(c.t.Context(), cfg)
	})
}

// retired waits until an identity is retired, or not.
func (c *cluster) retired(id *v1alpha1.CiliumIdentity, want bool) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("identity %s has retired=%v", id.Name, want), func() error {
		if err := c.get(id); err != nil {
			return err
		}
		if got := id.Status.RetiredAt != nil; got != want {
			return fmt.Errorf("retired at %v", id.Status.RetiredAt)
		}
		return nil
	})
}

func TestPodsGetIdentities(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	c.operator()
	c.pod(build.Pod(c.name("a1")).Label("app", "a").Label("pod-template-hash", "1"))
	c.pod(build.Pod(c.name("a2")).Label("app", "a").Label("pod-template-hash", "2"))
	c.pod(build.Pod(c.name("b")).Label("app", "b"))
	c.pod(build.Pod(c.name("host")).Label("app", "host").HostNetwork())
	c.pod(build.Pod(c.name("ended")).Label("app", "ended").Phase(corev1.PodSucceeded))

	id := c.one("a")
	c.one("b")
	want := map[string]v1alpha1.LabelValue{
		"k8s:app":                  "a",
		identity.KeyNamespace:      v1alpha1.LabelValue(c.namespace),
		identity.KeyServiceAccount: "default",
		identity.KeyCluster:        "default",
		identity.KeyNamespaceLabel + "kubernetes.io/metadata.name": v1alpha1.LabelValue(c.namespace),
	}
	if fmt.Sprint(id.Spec.Labels) != fmt.Sprint(want) {
		t.Errorf("labels = %v, want %v", id.Spec.Labels, want)
	}
	c.always("pods of the host's network and ended ones have none", func() error {
		if got := len(c.identities("")); got > 3 { // "ended" may have been seen before its phase was written.
			return fmt.Errorf("there are %d identities", got)
		}
		if len(c.identities("host")) > 0 {
			return errors.New("the pod of the host's network has one")
		}
		return nil
	})
}

func TestFilterIsPublishedAfterItsIdentities(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	for i := range 10 {
		c.pod(build.Pod(c.name(fmt.Sprint("p", i))).Label("app", fmt.Sprint(i)).Label("team", "t"))
	}
	c.operator()
	published := func(version int64) func() error {
		return func() error {
			cfg := config()
			if err := c.get(cfg); err != nil {
				return err
			}
			if f := cfg.Status.IdentityFilter; f == nil || f.Version != version {
				return fmt.Errorf("filter in force: %v, want version %d", f, version)
			}
			return nil
		}
	}
	c.eventually("the first filter is published", published(1))
	if got := len(c.identities("")); got < 10 {
		t.Errorf("the filter was published with %d of 10 identities", got)
	}
	c.eventually("the user excludes a label", func() error {
		cfg := config()
		if err := c.get(cfg); err != nil {
			return err
		}
		cfg.Spec.Identity.ExcludeLabels = []string{"team"}
		return c.Update(t.Context(), cfg)
	})
	c.eventually("the second filter is published", published(2))
	for i := range 10 {
		both := c.identities(fmt.Sprint(i))
		without := slices.ContainsFunc(both, func(id v1alpha1.CiliumIdentity) bool { return id.Spec.Labels["k8s:team"] == "" })
		if !without {
			t.Errorf("the filter was published without the identity of app %d under it", i)
		}
	}
}

func TestLabelsOfTheNamespaceCount(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	c.operator()
	const early = "p60" // Its name puts it early on the spread.
	c.pod(build.Pod(c.name(early)).Label("app", "a"))
	c.one("a")
	ns := build.Namespace(c.namespace)
	c.check(c.get(ns))
	ns.Labels["tier"] = "gold"
	c.check(c.Update(t.Context(), ns))
	c.eventually("the identity under the new labels is made", func() error {
		for _, id := range c.identities("a") {
			if id.Spec.Labels[identity.KeyNamespaceLabel+"tier"] == "gold" {
				return nil
			}
		}
		return errors.New("there is none")
	})
}

func TestIdentityRetiresRevivesAndGoes(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	c.operator()
	pod := c.pod(build.Pod(c.name("p")).Label("app", "a"))
	id := c.one("a")

	c.clock.advance(2 * time.Minute)
	c.remove(pod)
	c.census()
	c.retired(id, true)

	pod = c.pod(build.Pod(c.name("p")).Label("app", "a"))
	c.retired(id, false)
	c.remove(pod)
	c.census()
	c.retired(id, true)

	c.clock.advance(29 * time.Minute)
	c.census()
	c.always("it rests for 30 minutes", func() error { return c.get(id) })

	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	late := c.pod(build.Pod(c.name("late")).OnNode("n1"))
	ep := build.Endpoint(c.name("late")).PodUID(string(late.UID)).Identity(number(t, id)).Obj()
	c.make(ep)
	c.clock.advance(2 * time.Minute)
	c.census()
	c.always("it stays while an endpoint has it", func() error { return c.get(id) })

	c.check(c.get(ep))
	ep.Finalizers = nil
	c.check(c.Update(t.Context(), ep))
	c.remove(ep)
	c.census()
	c.eventually("it is deleted", func() error { return c.gone(id) })
}

func number(t *testing.T, id *v1alpha1.CiliumIdentity) int64 {
	t.Helper()
	n, err := strconv.ParseInt(id.Name, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// labelsOf are those of pods with app=value in the test's namespace.
func (c *cluster) labelsOf(app string) identity.Labels {
	f := identity.Filter{ClusterName: "default"}
	return f.Labels(identity.Pod{Namespace: c.namespace, ServiceAccount: "default", Labels: map[string]string{"app": app}},
		map[string]string{"kubernetes.io/metadata.name": c.namespace})
}

// identity makes one by hand.
func (c *cluster) identity(name string, labels identity.Labels) *v1alpha1.CiliumIdentity {
	c.t.Helper()
	id := build.Identity(name)
	for k, v := range labels {
		id.Spec.Labels[k] = v1alpha1.LabelValue(v)
	}
	c.make(id)
	return id
}

func TestLowestOfTwoIdentitiesStays(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	high, low := c.identity("3001", c.labelsOf("a")), c.identity("3000", c.labelsOf("a"))
	c.pod(build.Pod(c.name("p")).Label("app", "a"))
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	q := c.pod(build.Pod(c.name("q")).OnNode("n1").Label("app", "a"))
	ep := build.Endpoint(c.name("q")).PodUID(string(q.UID)).Identity(3001).Obj()
	c.make(ep)
	c.operator()
	c.clock.advance(2 * time.Minute)
	c.census()
	c.always("the higher stays while it is used", func() error {
		c.check(c.get(high))
		if high.Status.RetiredAt != nil {
			return errors.New("it is retired")
		}
		return nil
	})
	c.check(c.get(ep))
	ep.Status.Identity.Number = 3000
	c.check(c.Status().Update(t.Context(), ep))
	c.census()
	c.retired(high, true)
	c.retired(low, false)
	if got := len(c.identities("a")); got != 2 {
		t.Errorf("there are %d identities, want the two", got)
	}
}

func TestNumberOfARetiredIdentityGetsNoOtherLabels(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	var first string
	for n := range identity.Candidates(c.labelsOf("new").Key()) {
		first = strconv.Itoa(int(n))
		break
	}
	old := c.identity(first, c.labelsOf("old"))
	c.operator()
	c.clock.advance(2 * time.Minute)
	c.census()
	c.retired(old, true)
	c.pod(build.Pod(c.name("p")).Label("app", "new"))
	if got := c.one("new"); got.Name == first {
		t.Errorf("the number %s has other labels now", first)
	}
	c.check(c.get(old))
	if old.Spec.Labels["k8s:app"] != "old" {
		t.Errorf("labels of %s became %v", first, old.Spec.Labels)
	}
}

func TestTwoOperatorsAgreeOnNumbers(t *testing.T) {
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	c.operator()
	c.operator() // Neither knows of the other.
	var g errgroup.Group
	for i := range 60 {
		g.Go(func() error {
			return c.Create(t.Context(), build.Pod(c.name(fmt.Sprint("p", i))).Label("app", fmt.Sprint(i%20)).Obj())
		})
	}
	c.check(g.Wait())
	for i := range 20 {
		c.one(fmt.Sprint(i))
	}
}
