// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CiliumIdentitySpec is what an identity stands for.
type CiliumIdentitySpec struct {
	// labels are the security-relevant labels of the pods of this identity, with the source as a prefix of the key
	// ("k8s:app", "k8s:io.kubernetes.pod.namespace"). Set by the operator; immutable.
	// +required
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=256
	Labels map[string]LabelValue `json:"labels"`
}

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=256
type LabelValue string

// CiliumIdentityStatus says whether an identity is still given to pods.
type CiliumIdentityStatus struct {
	// retiredAt is when the operator found no pod with these labels any more. Agents no longer choose a retired identity
	// but keep its meaning until the object is gone. Set by the operator. Absent means in use.
	// +optional
	RetiredAt *metav1.Time `json:"retiredAt,omitempty"`
}

// CiliumIdentity is one set of security-relevant labels; its name is its number, from 256 to 65535.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ciliumid,categories=cilium
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[1-9][0-9]{2,4}$') && int(self.metadata.name) >= 256 && int(self.metadata.name) <= 65535",message="the name of an identity is its number, from 256 to 65535"
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.labels.k8s:io\.kubernetes\.pod\.namespace`
// +kubebuilder:printcolumn:name="App",type=string,JSONPath=`.spec.labels.k8s:app`
// +kubebuilder:printcolumn:name="Retired",type=date,JSONPath=`.status.retiredAt`
// +kubebuilder:printcolumn:name="Labels",type=string,priority=1,JSONPath=`.spec.labels`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the identity stands for. Set by the operator; immutable.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the labels of an identity never change"
	Spec CiliumIdentitySpec `json:"spec"`

	// status says whether the identity is still given to pods. Set by the operator.
	// +optional
	Status CiliumIdentityStatus `json:"status,omitzero"`
}

// CiliumIdentityList is a list of CiliumIdentities.
// +kubebuilder:object:root=true
type CiliumIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumIdentity `json:"items"`
}
