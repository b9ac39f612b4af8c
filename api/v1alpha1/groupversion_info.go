// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of all kinds of this package.
const GroupName = "cilium.io"

// SchemaLabel is the label on every CRD that says which schema revision it carries. Binaries refuse to act on a CRD
// without it (it may be Cilium's) and stay unready on an older one (fields they write would be pruned).
const SchemaLabel = "ciliate.dev/schema"

// SchemaVersion is the revision of the schemas of this package, the value of SchemaLabel. It grows by one with every
// change to a CRD.
const SchemaVersion = 4

// GroupVersion is the group and version of all kinds of this package. (SchemeGroupVersion is the name that the
// generated apply configurations expect.)
var (
	GroupVersion       = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}
	SchemeGroupVersion = GroupVersion
)

// AddToScheme registers all kinds of this package with s.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&CiliumEndpoint{}, &CiliumEndpointList{},
		&CiliumNode{}, &CiliumNodeList{},
		&CiliumIdentity{}, &CiliumIdentityList{},
		&CiliumConfig{}, &CiliumConfigList{},
		&CiliumLoadBalancerIPPool{}, &CiliumLoadBalancerIPPoolList{},
		&CiliumL2AnnouncementPolicy{}, &CiliumL2AnnouncementPolicyList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
