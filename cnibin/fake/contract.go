// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// API is an apiserver, fake or real. The client must be allowed everything, and trust the server.
type API struct {
	URL    string
	Client *http.Client
}

// Contract holds an apiserver to what cilium-cni relies on. The objects go to the namespace default.
func Contract(t *testing.T, api API) {
	for name, clause := range map[string]func(*testing.T, API){
		"a created object has a UID and a resource version":        created,
		"a name is taken until its object is gone":                 taken,
		"a netns elsewhere is invalid":                             invalid,
		"an absent object is not found":                            absent,
		"a deletion with the UID of another object is a conflict":  foreignUID,
		"a finalizer keeps a deleted object":                       kept,
		"a wrong token is unauthorized":                            unauthorized,
		"endpoints can be listed by node":                          listed,
		"a watch shows the object's life and no other's":           watched,
		"a watch shows the next bearer of the name with its UID":   reborn,
		"a watch from too long ago is one ERROR event of code 410": expired,
		"a watch ends when its time is over":                       ended,
	} {
		t.Run(name, func(t *testing.T) { clause(t, api) })
	}
}

func created(t *testing.T, api API) {
	ep := api.create(t, "created")
	if ep.UID == "" || ep.ResourceVersion == "" {
		t.Errorf("UID %q, resource version %q", ep.UID, ep.ResourceVersion)
	}
	got := v1alpha1.CiliumEndpoint{}
	api.want(t, http.StatusOK, call{http.MethodGet, "/created", nil}, &got)
	if got.UID != ep.UID || got.Spec != ep.Spec {
		t.Errorf("got %v, created %v", got, ep)
	}
}

func taken(t *testing.T, api API) {
	ep := api.create(t, "taken")
	api.wantReason(t, http.StatusConflict, metav1.StatusReasonAlreadyExists, call{http.MethodPost, "", object("taken")})
	api.remove(t, ep)
	api.wantReason(t, http.StatusConflict, metav1.StatusReasonAlreadyExists, call{http.MethodPost, "", object("taken")})
	api.release(t, ep)
	api.want(t, http.StatusCreated, call{http.MethodPost, "", object("taken")}, nil)
}

func invalid(t *testing.T, api API) {
	ep := object("invalid")
	ep.Spec.Netns = "/proc/1/ns/net"
	api.wantReason(t, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, call{http.MethodPost, "", ep})
}

func absent(t *testing.T, api API) {
	api.wantReason(t, http.StatusNotFound, metav1.StatusReasonNotFound, call{http.MethodGet, "/absent", nil})
	api.wantReason(t, http.StatusNotFound, metav1.StatusReasonNotFound, call{http.MethodDelete, "/absent", nil})
}

func foreignUID(t *testing.T, api API) {
	ep := api.create(t, "foreign-uid")
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("another")}
	api.wantReason(t, http.StatusConflict, metav1.StatusReasonConflict, call{http.MethodDelete, "/foreign-uid", options})
	got := v1alpha1.CiliumEndpoint{}
	api.want(t, http.StatusOK, call{http.MethodGet, "/foreign-uid", nil}, &got)
	if got.UID != ep.UID || got.DeletionTimestamp != nil {
		t.Errorf("the object did not survive: %v", got)
	}
}

func kept(t *testing.T, api API) {
	ep := api.create(t, "kept")
	api.remove(t, ep)
	api.remove(t, ep)
	got := v1alpha1.CiliumEndpoint{}
	api.want(t, http.StatusOK, call{http.MethodGet, "/kept", nil}, &got)
	if got.UID != ep.UID || got.DeletionTimestamp == nil {
		t.Errorf("want the object with a deletionTimestamp, got %v", got)
	}
	api.release(t, ep)
	api.wantReason(t, http.StatusNotFound, metav1.StatusReasonNotFound, call{http.MethodGet, "/kept", nil})
}

func unauthorized(t *testing.T, api API) {
	req := api.request(t, call{method: http.MethodGet, path: "/absent"})
	req.Header.Set("Authorization", "Bearer wrong")
	resp, err := api.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s", resp.Status)
	}
}

func listed(t *testing.T, api API) {
	ep := object("listed")
	ep.Spec.NodeName = "node-of-listed"
	api.want(t, http.StatusCreated, call{http.MethodPost, "", ep}, nil)
	api.create(t, "unlisted")
	list := v1alpha1.CiliumEndpointList{}
	api.want(t, http.StatusOK, call{http.MethodGet, "?fieldSelector=spec.nodeName%3Dnode-of-listed", nil}, &list)
	if len(list.Items) != 1 || list.Items[0].Name != "listed" {
		t.Errorf("got %v", list.Items)
	}
}

func watched(t *testing.T, api API) {
	ep := api.create(t, "watched")
	api.create(t, "unwatched")
	events := api.watch(t, ep.Name, ep.ResourceVersion, "10")
	api.want(t, http.StatusOK, call{http.MethodPatch, "/watched/status", map[string]any{"status": Ready(ep)}}, nil)
	wantEvent(t, events, "MODIFIED", func(got v1alpha1.CiliumEndpoint) bool {
		return got.UID == ep.UID && got.Status.PodUID == ep.Spec.PodUID && len(got.Status.Conditions) == 1
	})
	api.remove(t, ep)
	wantEvent(t, events, "MODIFIED", func(got v1alpha1.CiliumEndpoint) bool { return got.DeletionTimestamp != nil })
	api.release(t, ep)
	wantEvent(t, events, "DELETED", func(got v1alpha1.CiliumEndpoint) bool { return got.UID == ep.UID })
}

func reborn(t *testing.T, api API) {
	ep := api.create(t, "reborn")
	api.remove(t, ep)
	api.release(t, ep)
	next := api.create(t, "reborn")
	events := api.watch(t, ep.Name, ep.ResourceVersion, "10")
	wantEvent(t, events, "MODIFIED", func(got v1alpha1.CiliumEndpoint) bool { return got.UID == ep.UID })
	wantEvent(t, events, "DELETED", func(got v1alpha1.CiliumEndpoint) bool { return got.UID == ep.UID })
	wantEvent(t, events, "ADDED", func(got v1alpha1.CiliumEndpoint) bool { return got.UID == next.UID })
}

func expired(t *testing.T, api API) {
	api.create(t, "expired")
	events := api.watch(t, "expired", "1", "10")
	event := struct {
		Type   string
		Object metav1.Status
	}{}
	if err := events.Decode(&event); err != nil || event.Type != "ERROR" || event.Object.Code != http.StatusGone {
		t.Errorf("got %+v, %v", event, err)
	}
}

func ended(t *testing.T, api API) {
	ep := api.create(t, "ended")
	events := api.watch(t, ep.Name, ep.ResourceVersion, "1")
	event := map[string]any{}
	if err := events.Decode(&event); err != io.EOF {
		t.Errorf("want the end of the stream, got %v, %v", event, err)
	}
}

func wantEvent(t *testing.T, events *json.Decoder, kind string, matches func(v1alpha1.CiliumEndpoint) bool) {
	t.Helper()
	event := struct {
		Type   string
		Object v1alpha1.CiliumEndpoint
	}{}
	if err := events.Decode(&event); err != nil {
		t.Fatalf("want %s, got %v", kind, err)
	}
	if event.Type != kind || !matches(event.Object) {
		t.Fatalf("want %s, got %+v", kind, event)
	}
}

func object(name string) v1alpha1.CiliumEndpoint {
	return v1alpha1.CiliumEndpoint{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CiliumEndpoint"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.EndpointFinalizer}},
		Spec: v1alpha1.CiliumEndpointSpec{
			NodeName:    "node1",
			PodUID:      "pod-uid",
			ContainerID: "c0ffee",
			Netns:       "/var/run/netns/cni-1",
			IfName:      "eth0",
		},
	}
}

func (a API) create(t *testing.T, name string) v1alpha1.CiliumEndpoint {
	t.Helper()
	ep := v1alpha1.CiliumEndpoint{}
	a.want(t, http.StatusCreated, call{http.MethodPost, "", object(name)}, &ep)
	return ep
}

func (a API) remove(t *testing.T, ep v1alpha1.CiliumEndpoint) {
	t.Helper()
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(ep.UID))}
	a.want(t, http.StatusOK, call{http.MethodDelete, "/" + ep.Name, options}, nil)
}

func (a API) release(t *testing.T, ep v1alpha1.CiliumEndpoint) {
	t.Helper()
	patch := map[string]any{"metadata": map[string]any{"finalizers": nil}}
	a.want(t, http.StatusOK, call{http.MethodPatch, "/" + ep.Name, patch}, nil)
}

func (a API) watch(t *testing.T, name, from, seconds string) *json.Decoder {
	t.Helper()
	query := "?watch=1&fieldSelector=metadata.name%3D" + name + "&resourceVersion=" + from + "&timeoutSeconds=" + seconds
	resp, err := a.Client.Do(a.request(t, call{method: http.MethodGet, path: query}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("watch: %s", resp.Status)
	}
	return json.NewDecoder(resp.Body)
}

// call is one request about the endpoints of the namespace default; path is what follows the collection's.
type call struct {
	method, path string
	body         any
}

func (a API) wantReason(t *testing.T, code int, reason metav1.StatusReason, what call) {
	t.Helper()
	status := metav1.Status{}
	a.want(t, code, what, &status)
	if status.Reason != reason || status.Message == "" {
		t.Errorf("%s %s: reason %q, message %q, want reason %q", what.method, what.path, status.Reason, status.Message, reason)
	}
}

func (a API) want(t *testing.T, code int, what call, out any) {
	t.Helper()
	resp, err := a.Client.Do(a.request(t, what))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != code {
		t.Fatalf("%s %s: %s, want %d: %s", what.method, what.path, resp.Status, code, data)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s %s: %v: %s", what.method, what.path, err, data)
	}
}

func (a API) request(t *testing.T, what call) *http.Request {
	t.Helper()
	var data []byte
	if what.body != nil {
		var err error
		if data, err = json.Marshal(what.body); err != nil {
			t.Fatal(err)
		}
	}
	target := strings.TrimSuffix(a.URL, "/") + "/apis/cilium.io/v1alpha1/namespaces/default/ciliumendpoints" + what.path
	req, err := http.NewRequestWithContext(t.Context(), what.method, target, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if what.method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	return req
}
