// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// attachment is one endpoint as this agent serves it. It is rebuilt from the object and the kernel after a restart; its
// worker alone touches it.
type attachment struct {
	name       types.NamespacedName
	cepUID     types.UID
	hostIfName string
	cep        *v1alpha1.CiliumEndpoint
	// status is what the object's status is to become.
	status *v1alpha1.CiliumEndpointStatus
	// seen is when this process first heard of the object. The object's own time is another machine's.
	seen time.Time
	// pod is the Pod whose sandbox it is; nil when there is none.
	pod *corev1.Pod
	// podGone is when the Pod was first missed; zero while it is there.
	podGone time.Time
	// key is the canonical form of the labels whose identity the endpoint wants; a string.
	key atomic.Value
	ep  dp.Endpoint
	ifc dp.Interface
	// served: the kernel has the endpoint, from this agent or from the one before. Any worker may ask.
	served atomic.Bool
	// starved: no address was left for it. Any worker may ask.
	starved atomic.Bool
	// undone: nothing of the endpoint is left in the kernel.
	undone bool
	// held: the event DeletionHeld was sent.
	held bool
}

// attachments are the endpoints that this agent serves, by name.
type attachments struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]*attachment
	ids    map[uint16]types.UID
	lastID uint16
	serves bool
}

func newAttachments() attachments {
	return attachments{byName: map[types.NamespacedName]*attachment{}, ids: map[uint16]types.UID{}}
}

func (s *attachments) serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serves
}

func (s *attachments) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serves = true
}

func (s *attachments) get(name types.NamespacedName) *attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name]
}

// all returns the attachments in no order. Of another worker's attachment only what never changes and the atomic facts may be
// read.
func (s *attachments) all() []*attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.byName))
}

// ensure returns the attachment of cep, brought up to its present object.
func (s *attachments) ensure(cep *v1alpha1.CiliumEndpoint, now time.Time) *attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := types.NamespacedName{Namespace: cep.Namespace, Name: cep.Name}
	a := s.byName[name]
	if a == nil || a.cepUID != cep.UID {
		a = &attachment{name: name, cepUID: cep.UID, ep: endpointOf(cep), seen: now}
		a.hostIfName = a.ep.HostIfName
		s.byName[name] = a
	}
	a.cep, a.status = cep, cep.Status.DeepCopy()
	return a
}

// number gives the attachment the number that it had, or the next free one after the last: a number rests as long as
// possible.
func (s *attachments) number(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[a.ep.ID] == a.cepUID || s.claim(a.ep.ID, a.cepUID) {
		return
	}
	for s.lastID++; !s.claim(s.lastID, a.cepUID); s.lastID++ {
	}
	a.ep.ID = s.lastID
}

// reserve keeps a number from being given: something that has no object is using it.
func (s *attachments) reserve(id uint16, owner types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim(id, owner)
}

func (s *attachments) claim(id uint16, owner types.UID) bool {
	if _, taken := s.ids[id]; taken || id == 0 {
		return false
	}
	s.ids[id] = owner
	return true
}

// giveBack makes a number free if it is owner's.
func (s *attachments) giveBack(id uint16, owner types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[id] == owner {
		delete(s.ids, id)
	}
}

// drop forgets the attachment.
func (s *attachments) drop(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[a.name] == a {
		delete(s.byName, a.name)
	}
}

// endpointOf is what the object alone says of the datapath's endpoint.
func endpointOf(cep *v1alpha1.CiliumEndpoint) dp.Endpoint {
	ep := dp.Endpoint{
		UID: string(cep.UID), ID: uint16(cep.Status.EndpointID), IfName: cep.Spec.IfName,
		HostIfName: dp.HostIfName(cep.Spec.ContainerID, cep.Spec.IfName),
	}
	if cep.Status.Identity != nil {
		ep.Identity = dp.Identity(cep.Status.Identity.Number)
	}
	ep.Addrs = addrsOf(cep)
	return ep
}

// netnsPath is the sandbox's network namespace as this process sees it: the object's pattern allows a file directly in
// one folder, and nothing else of it is used.
func netnsPath(dir string, cep *v1alpha1.CiliumEndpoint) string {
	return filepath.Join(dir, filepath.Base(cep.Spec.Netns))
}

func (a *attachment) set(condition string, ok bool, reason, message string) {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&a.status.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message, ObservedGeneration: a.cep.Generation,
	})
}

// waits sets a phase's condition to false and returns the wait.
func (a *attachment) waits(condition, reason, message string) wait {
	a.set(condition, false, reason, message)
	return wait{reason, message}
}

func (a *attachment) fail(reason, message string) {
	a.set(v1alpha1.ConditionReady, false, reason, message)
}

func (a *attachment) ready() {
	a.set(v1alpha1.ConditionReady, true, v1alpha1.ReasonReady, fmt.Sprintf("The pod can send and receive on %s", a.ep.HostIfName))
}

// forget leaves in the status what a terminal endpoint still has: nothing but its conditions.
func (a *attachment) forget() {
	a.status.Addresses, a.status.Interface, a.status.EndpointID = nil, nil, 0
	for _, c := range []string{v1alpha1.ConditionAddressAssigned, v1alpha1.ConditionDatapathProgrammed, v1alpha1.ConditionPolicyEnforced} {
		meta.RemoveStatusCondition(&a.status.Conditions, c)
	}
}

// wants is the canonical form of the labels whose identity the endpoint wants; any worker may ask.
func (a *attachment) wants() string {
	key, _ := a.key.Load().(string)
	return key
}
