// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// added is a world in which ADD has succeeded and CHECK gets its result.
func added(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.serve()
	wantError(t, w.run(w.plugin.add), 0)
	result := map[string]any{}
	if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	w.conf["prevResult"] = result
	return w
}

// change writes another status than the one of which ADD told.
func (w *world) change(change func(*v1alpha1.CiliumEndpointStatus)) {
	ep, _ := w.Get("default", "web")
	change(&ep.Status)
	w.SetStatus("default", "web", ep.Status)
}

func TestCheck(t *testing.T) {
	cases := map[string]struct {
		arrange   func(w *world)
		wantCode  uint
		wantTexts []string
	}{
		"nothing has changed": {arrange: func(*world) {}},
		"the apiserver stumbles": {
			arrange: func(w *world) { w.Fail("get", fake.Drop(), fake.Garbage(http.StatusBadGateway)) },
		},
		"an address is spelled in another way": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) { s.Addresses[1].IP = "FD00:1:0::3" })
			},
		},
		"a chained plugin has added an interface": {
			arrange: func(w *world) {
				result := w.conf["prevResult"].(map[string]any)
				result["interfaces"] = append(result["interfaces"].([]any), map[string]any{"name": "tap0"})
			},
		},
		"the object is gone": {
			arrange:  func(w *world) { w.Delete("default", "web"); w.Release("default", "web") },
			wantCode: 3, wantTexts: []string{"default/web does not exist"},
		},
		"the object is another sandbox's": {
			arrange:  func(w *world) { w.args.ContainerID = "0ther" },
			wantCode: 999, wantTexts: []string{"another sandbox", "c0ffee"},
		},
		"the endpoint is no longer Ready": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) {
					s.Conditions[0].Status = metav1.ConditionFalse
					s.Conditions[0].Reason, s.Conditions[0].Message = v1alpha1.ReasonSandboxGone, "The netns is gone."
				})
			},
			wantCode: 999, wantTexts: []string{"SandboxGone", "The netns is gone."},
		},
		"an address has changed": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) { s.Addresses[0].IP = "10.1.2.99" })
			},
			wantCode: 999, wantTexts: []string{"10.1.2.3", "10.1.2.99"},
		},
		"an address is missing": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) { s.Addresses = s.Addresses[:1] })
			},
			wantCode: 999, wantTexts: []string{"fd00:1::3"},
		},
		"the hardware address has changed": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) { s.Interface.MAC = "02:00:00:00:00:99" })
			},
			wantCode: 999, wantTexts: []string{"02:00:00:00:00:01", "02:00:00:00:00:99"},
		},
		"the status has lost the interface": {
			arrange: func(w *world) {
				w.change(func(s *v1alpha1.CiliumEndpointStatus) { s.Interface = nil })
			},
			wantCode: 999, wantTexts: []string{"no interface"},
		},
		"the device is gone from the node": {
			arrange: func(w *world) {
				w.plugin.link = func(string) (*net.Interface, error) { return nil, errors.New("no such network interface") }
			},
			wantCode: 999, wantTexts: []string{"lxc0123456789a", "no such network interface"},
		},
		"the device is another": {
			arrange: func(w *world) {
				w.plugin.link = func(string) (*net.Interface, error) {
					return &net.Interface{Index: 43, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Flags: net.FlagUp}, nil
				}
			},
			wantCode: 999, wantTexts: []string{"index 43"},
		},
		"the device is down": {
			arrange: func(w *world) {
				w.plugin.link = func(string) (*net.Interface, error) {
					return &net.Interface{Index: 42, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}}, nil
				}
			},
			wantCode: 999, wantTexts: []string{"is down"},
		},
		"prevResult is missing": {
			arrange:  func(w *world) { delete(w.conf, "prevResult") },
			wantCode: 7, wantTexts: []string{"prevResult"},
		},
		"prevResult is null": {
			arrange:  func(w *world) { w.conf["prevResult"] = nil },
			wantCode: 7, wantTexts: []string{"prevResult"},
		},
		"prevResult is no result": {
			arrange:  func(w *world) { w.conf["prevResult"] = []int{1} },
			wantCode: 7, wantTexts: []string{"prevResult"},
		},
		"prevResult does not know the interface": {
			arrange:  func(w *world) { w.conf["prevResult"] = map[string]any{"cniVersion": "1.1.0"} },
			wantCode: 999, wantTexts: []string{"no interface eth0"},
		},
		"the apiserver is away": {
			arrange:  func(w *world) { w.Stop() },
			wantCode: 11, wantTexts: []string{"connection refused"},
		},
		"the apiserver forbids it": {
			arrange: func(w *world) {
				w.Fail("get", fake.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, "no"))
			},
			wantCode: 111, wantTexts: []string{"403"},
		},
		"CNI_ARGS is missing": {arrange: func(w *world) { w.args.Args = "" }, wantCode: 4, wantTexts: []string{"K8S_POD_NAME"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := added(t)
			w.plugin.timing.check = 400 * w.plugin.timing.backoff
			tc.arrange(w)
			wantError(t, w.run(w.plugin.check), tc.wantCode, tc.wantTexts...)
		})
	}
}

func TestCheckAndAddSpeakOlderVersions(t *testing.T) {
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			w.conf["cniVersion"] = version
			w.serve()
			wantError(t, w.run(w.plugin.add), 0)
			result := map[string]any{}
			if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil {
				t.Fatal(err)
			}
			wantEqual(t, any(version), result["cniVersion"])
			w.conf["prevResult"] = result
			wantError(t, w.run(w.plugin.check), 0)
		})
	}
}
