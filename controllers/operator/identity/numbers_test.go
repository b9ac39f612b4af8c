// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ciliate-io/ciliate/api/applyconfiguration"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

// newNumbers has no identity yet; with hidden ones, the cache lists nothing and gets all but these.
func newNumbers(t *testing.T, hidden map[string]bool) numbers {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	live := fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.CiliumIdentity{}).
		WithTypeConverters(applyconfiguration.NewTypeConverter(scheme)).
		WithIndex(&v1alpha1.CiliumIdentity{}, index.IdentityKey, index.IdentityKeyOf).Build()
	cached := interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			if hidden[key.Name] {
				key.Name = "not yet"
			}
			return c.Get(ctx, key, obj, o...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			if len(hidden) > 0 {
				return nil
			}
			return c.List(ctx, list, o...)
		},
	})
	return numbers{client: cached, live: live}
}

// has makes an identity.
func (n numbers) has(t *testing.T, id *v1alpha1.CiliumIdentity) {
	t.Helper()
	if err := n.client.Create(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// isRetired retires an identity as the census does.
func (n numbers) isRetired(t *testing.T, id *v1alpha1.CiliumIdentity) {
	t.Helper()
	if err := n.retire(t.Context(), id, metav1.NewTime(time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
}

func TestEnsure(t *testing.T) {
	labels := identity.Labels{"k8s:app": "a"}
	next, stop := iter.Pull(identity.Candidates(labels.Key()))
	defer stop()
	name := func() string {
		number, _ := next()
		return strconv.Itoa(int(number))
	}
	first, second := name(), name()
	tests := map[string]struct {
		have    *v1alpha1.CiliumIdentity
		retired bool
		hidden  map[string]bool
		want    string
	}{
		"nobody has it":     {want: first},
		"it exists already": {have: build.Identity("300", "k8s:app", "a"), want: "300"},
		"the first number has other labels": {
			have: build.Identity(first, "k8s:app", "b"), want: second,
		},
		"the first number has other labels, which the cache does not know": {
			have: build.Identity(first, "k8s:app", "b"), hidden: map[string]bool{first: true}, want: second,
		},
		"another operator was faster": {
			have: build.Identity(first, "k8s:app", "a"), hidden: map[string]bool{first: true}, want: first,
		},
		"it is retired": {have: build.Identity(first, "k8s:app", "a"), retired: true, want: first},
		"it is retired, which the cache does not know": {
			have: build.Identity(first, "k8s:app", "a"), retired: true, hidden: map[string]bool{first: true}, want: first,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNumbers(t, tt.hidden)
			if tt.have != nil {
				n.has(t, tt.have)
			}
			if tt.retired {
				n.isRetired(t, tt.have)
			}
			if err := n.ensure(t.Context(), labels); err != nil {
				t.Fatal(err)
			}
			var list v1alpha1.CiliumIdentityList
			if err := n.live.List(t.Context(), &list, client.MatchingFields{index.IdentityKey: labels.Key()}); err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != 1 || list.Items[0].Name != tt.want || list.Items[0].Status.RetiredAt != nil {
				t.Errorf("identities = %+v, want %s in force", list.Items, tt.want)
			}
		})
	}
}

func TestLowestOfRetiredIsRevived(t *testing.T) {
	high, low := build.Identity("3000", "k8s:app", "a"), build.Identity("299", "k8s:app", "a")
	n := newNumbers(t, nil)
	for _, id := range []*v1alpha1.CiliumIdentity{high, low} {
		n.has(t, id)
		n.isRetired(t, id)
	}
	if err := n.ensure(t.Context(), identity.Labels{"k8s:app": "a"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*v1alpha1.CiliumIdentity{high, low} {
		if err := n.live.Get(t.Context(), client.ObjectKeyFromObject(id), id); err != nil {
			t.Fatal(err)
		}
	}
	if low.Status.RetiredAt != nil || high.Status.RetiredAt == nil {
		t.Errorf("retired: 299 at %v, 3000 at %v; want the lower one in force", low.Status.RetiredAt, high.Status.RetiredAt)
	}
}

func TestNoNumberIsFree(t *testing.T) {
	n := numbers{client: everywhere{}}
	err := n.create(t.Context(), "key", identity.Labels{"k8s:app": "a"})
	if !errors.Is(err, errExhausted) {
		t.Errorf("err = %v, want errExhausted", err)
	}
}

// everywhere has every object.
type everywhere struct{ client.Client }

func (everywhere) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}
