// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// The plugin's own words must stay those of api/v1alpha1.
func TestWordsAreThoseOfTheAPI(t *testing.T) {
	wantEqual(t, v1alpha1.GroupVersion.String(), apiVersion)
	wantEqual(t, reflect.TypeFor[v1alpha1.CiliumEndpoint]().Name(), kind)
	wantEqual(t, v1alpha1.EndpointFinalizer, finalizer)
	wantEqual(t, v1alpha1.ConditionReady, conditionReady)
	wantEqual(t, v1alpha1.ReasonPreviousInstance, reasonPreviousInstance)
}

func TestTerminalReasonsAreThoseOfTheAPI(t *testing.T) {
	wantEqual(t, v1alpha1.TerminalReasons(), []string{
		reasonSandboxGone, reasonInvalidNetns, reasonPodMismatch, reasonHostNetwork,
	})
	codes := map[uint]bool{}
	for _, reason := range v1alpha1.TerminalReasons() {
		codes[terminalCode(reason)] = true
	}
	wantEqual(t, map[uint]bool{100: true, 101: true, 102: true, 103: true}, codes)
	wantEqual(t, uint(0), terminalCode(v1alpha1.ReasonWaitingForPool))
}

// What the plugin writes is understood by the API's types to the last field.
func TestEndpointIsWrittenInTheWordsOfTheAPI(t *testing.T) {
	ours := endpoint{}
	fill(reflect.ValueOf(&ours).Elem())
	ours.Metadata.DeletionTimestamp = "2026-11-22T16:00:00Z"
	data, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}
	theirs := v1alpha1.CiliumEndpoint{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&theirs); err != nil {
		t.Fatalf("api/v1alpha1 does not know a field: %v", err)
	}
	wantEqual(t, ours, ourWords(t, theirs))
}

// What the API's types write comes over complete, except for what the plugin does not look at.
func TestEndpointIsReadInTheWordsOfTheAPI(t *testing.T) {
	theirs := v1alpha1.CiliumEndpoint{}
	fill(reflect.ValueOf(&theirs.Spec).Elem())
	fill(reflect.ValueOf(&theirs.Status).Elem())
	theirs.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Unix(0, 0))
	ours := ourWords(t, theirs)
	data, err := json.Marshal(ours.Spec)
	if err != nil {
		t.Fatal(err)
	}
	spec := v1alpha1.CiliumEndpointSpec{}
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, theirs.Spec, spec)
	ready := theirs.Status.Conditions[0]
	device := theirs.Status.Interface
	address0 := theirs.Status.Addresses[0]
	wantEqual(t, status{
		PodUID:      theirs.Status.PodUID,
		ContainerID: theirs.Status.ContainerID,
		Addresses:   []address{{Family: string(address0.Family), IP: address0.IP, Gateway: address0.Gateway}},
		Interface: &interfacePair{
			HostName: device.HostName, HostIndex: int(device.HostIndex), MAC: device.MAC, HostMAC: device.HostMAC,
			MTUBytes: int(device.MTUBytes),
		},
		Conditions: []condition{{
			Type: ready.Type, Status: string(ready.Status), Reason: ready.Reason, Message: ready.Message,
		}},
	}, ours.Status)
}

// ourWords reads an object of the API as the plugin does.
func ourWords(t *testing.T, theirs v1alpha1.CiliumEndpoint) endpoint {
	t.Helper()
	data, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ours := endpoint{}
	if err := json.Unmarshal(data, &ours); err != nil {
		t.Fatal(err)
	}
	return ours
}

// fill sets every field to something that is not its zero: a string to its field's name, a list to one element.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillField(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillField(v.Index(0), "element")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(42)
	}
}

func fillField(v reflect.Value, name string) {
	switch {
	case !v.CanSet():
	case v.Type() == reflect.TypeFor[metav1.Time]():
	case v.Kind() == reflect.String:
		v.SetString(name)
	default:
		fill(v)
	}
}
