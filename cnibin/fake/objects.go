// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

func (s *Server) create(w http.ResponseWriter, r *http.Request, target target) {
	ep := v1alpha1.CiliumEndpoint{}
	decoder := json.NewDecoder(r.Body)
	// The apiserver would drop such a field without a word; here it is a mistake to be seen.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&ep); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	if err := validate(ep.Spec); err != nil {
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err.Error())
		return
	}
	ep.Namespace = target.namespace
	stored, ok := s.Create(ep)
	if !ok {
		refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists,
			fmt.Sprintf("ciliumendpoints.cilium.io %q already exists", ep.Name))
		return
	}
	answer(w, http.StatusCreated, stored)
}

// validate knows the one rule that an ADD can break.
func validate(spec v1alpha1.CiliumEndpointSpec) error {
	if !regexp.MustCompile(`^/(var/)?run/netns/[^/]+$`).MatchString(spec.Netns) {
		return fmt.Errorf("spec.netns: Invalid value: %q", spec.Netns)
	}
	return nil
}

// Create stores an object under a new UID, unless its name is taken.
func (s *Server) Create(ep v1alpha1.CiliumEndpoint) (v1alpha1.CiliumEndpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := ep.Namespace + "/" + ep.Name
	if _, taken := s.objects[key]; taken {
		return ep, false
	}
	ep.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CiliumEndpoint"}
	ep.UID = types.UID(uuid.NewUUID())
	ep.Generation = 1
	ep.CreationTimestamp = metav1.NewTime(s.now())
	s.objects[key] = &ep
	s.note("ADDED", &ep)
	return ep, true
}

func (s *Server) get(w http.ResponseWriter, target target) {
	ep, found := s.Get(target.namespace, target.name)
	if !found {
		notFound(w, target)
		return
	}
	answer(w, http.StatusOK, ep)
}

// Get returns an object as it is now.
func (s *Server) Get(namespace, name string) (v1alpha1.CiliumEndpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ep, found := s.objects[namespace+"/"+name]
	if !found {
		return v1alpha1.CiliumEndpoint{}, false
	}
	return *ep.DeepCopy(), true
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, target target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := v1alpha1.CiliumEndpointList{}
	list.ResourceVersion = strconv.Itoa(s.revision)
	list.Items = []v1alpha1.CiliumEndpoint{}
	for _, ep := range s.objects {
		if selected(ep, r.URL.Query().Get("fieldSelector"), target.namespace) {
			list.Items = append(list.Items, *ep)
		}
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.CiliumEndpoint) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	answer(w, http.StatusOK, list)
}

// selected knows the two fields by which CiliumEndpoints can be selected here.
func selected(ep *v1alpha1.CiliumEndpoint, selector, namespace string) bool {
	field, value, _ := strings.Cut(selector, "=")
	fields := map[string]string{"": "", "metadata.name": ep.Name, "spec.nodeName": ep.Spec.NodeName}
	return fields[field] == value && (namespace == "" || namespace == ep.Namespace)
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request, target target) {
	options := metav1.DeleteOptions{}
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &options)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ep, found := s.objects[target.key()]
	switch {
	case !found:
		notFound(w, target)
	case options.Preconditions != nil && options.Preconditions.UID != nil && *options.Preconditions.UID != ep.UID:
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict,
			fmt.Sprintf("the UID in the precondition (%s) does not match the UID in record (%s)",
				*options.Preconditions.UID, ep.UID))
	default:
		s.remove(ep)
		answer(w, http.StatusOK, ep)
	}
}

// remove deletes an object, or marks it when it has finalizers.
func (s *Server) remove(ep *v1alpha1.CiliumEndpoint) {
	if len(ep.Finalizers) == 0 {
		delete(s.objects, ep.Namespace+"/"+ep.Name)
		s.note("DELETED", ep)
		return
	}
	if ep.DeletionTimestamp == nil {
		now := metav1.NewTime(s.now())
		ep.DeletionTimestamp = &now
		ep.Generation++
		s.note("MODIFIED", ep)
	}
}

// Delete asks for the deletion of an object, as kubectl does.
func (s *Server) Delete(namespace, name string) {
	s.update(namespace, name, s.remove)
}

// Release takes the finalizers off, as the agent does when everything is undone.
func (s *Server) Release(namespace, name string) {
	s.update(namespace, name, func(ep *v1alpha1.CiliumEndpoint) {
		ep.Finalizers = nil
		s.modified(ep)
	})
}

// SetStatus writes the status, as the agent does.
func (s *Server) SetStatus(namespace, name string, status v1alpha1.CiliumEndpointStatus) {
	s.update(namespace, name, func(ep *v1alpha1.CiliumEndpoint) {
		ep.Status = *status.DeepCopy()
		s.modified(ep)
	})
}

func (s *Server) update(namespace, name string, do func(*v1alpha1.CiliumEndpoint)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ep, found := s.objects[namespace+"/"+name]; found {
		do(ep)
	}
}

// modified notes a change; an object in deletion without finalizers goes.
func (s *Server) modified(ep *v1alpha1.CiliumEndpoint) {
	if ep.DeletionTimestamp != nil && len(ep.Finalizers) == 0 {
		s.remove(ep)
		return
	}
	s.note("MODIFIED", ep)
}

// patch merges finalizers, or the whole status: all that an agent and a test change.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, target target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ep, found := s.objects[target.key()]
	if !found {
		notFound(w, target)
		return
	}
	changed := ep.DeepCopy()
	if err := json.NewDecoder(r.Body).Decode(changed); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	if target.subresource == "status" {
		ep.Status = changed.Status
	} else {
		ep.Finalizers = changed.Finalizers
	}
	s.modified(ep)
	answer(w, http.StatusOK, ep)
}

func notFound(w http.ResponseWriter, target target) {
	refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound,
		fmt.Sprintf("ciliumendpoints.cilium.io %q not found", target.name))
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, failure(code, reason, message))
}

func failure(code int, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure,
		Code:     int32(code),
		Reason:   reason,
		Message:  message,
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Nobody is left to tell when the client has gone.
	_ = json.NewEncoder(w).Encode(body)
}
