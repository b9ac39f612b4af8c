// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package schema refuses to work on CRDs that are not ours, or that lack fields this binary writes. Entry point: Check.
package schema

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kschema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// ErrUnfit says that a CRD is there but not one to work on. An API server that does not answer is another error.
var ErrUnfit = errors.New("unfit CRD")

// Check tells whether every CRD that we use is there, ours, and as new as this binary. The error is for a person.
func Check(ctx context.Context, live client.Reader) error {
	var errs []error
	for _, plural := range []string{
		"ciliumconfigs", "ciliumendpoints", "ciliumidentities", "ciliuml2announcementpolicies", "ciliumloadbalancerippools", "ciliumnodes",
	} {
		errs = append(errs, checkCRD(ctx, live, plural+"."+v1alpha1.GroupName))
	}
	return errors.Join(errs...)
}

func checkCRD(ctx context.Context, live client.Reader, name string) error {
	crd := metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(kschema.GroupVersionKind{
		Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
	})
	if err := live.Get(ctx, client.ObjectKey{Name: name}, &crd); err != nil {
		return fmt.Errorf("get the CRD %s: %w", name, err)
	}
	value, ours := crd.Labels[v1alpha1.SchemaLabel]
	if !ours {
		return fmt.Errorf("%w: %s has no label %s, so it is not Ciliate's: is Cilium installed in this cluster?",
			ErrUnfit, name, v1alpha1.SchemaLabel)
	}
	revision, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("%w: %s: label %s: %w", ErrUnfit, name, v1alpha1.SchemaLabel, err)
	}
	if revision < v1alpha1.SchemaVersion {
		return fmt.Errorf("%w: %s has schema revision %d, this binary needs %d: apply config/crd first",
			ErrUnfit, name, revision, v1alpha1.SchemaVersion)
	}
	return nil
}
