// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package retry

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestResult(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "ciliumendpoints"}, "web", errors.New("changed"))
	other := errors.New("busy")
	tests := map[string]struct {
		err       error
		wantAfter time.Duration
		wantErr   error
	}{
		"a success keeps its result":    {wantAfter: time.Hour},
		"a conflict is soon over":       {err: conflict, wantAfter: conflictAgain},
		"an error is left to the limit": {err: other, wantErr: other},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			result, err := Result(ctrl.Result{RequeueAfter: time.Hour}, tt.err)
			if result.RequeueAfter != tt.wantAfter || !errors.Is(err, tt.wantErr) {
				t.Errorf("again after %s, %v; want %s, %v", result.RequeueAfter, err, tt.wantAfter, tt.wantErr)
			}
		})
	}
}

func TestLimiter(t *testing.T) {
	l, req := Limiter(), reconcile.Request{}
	if got := l.When(req); got != first {
		t.Errorf("the first time is %s, want %s", got, first)
	}
	var got time.Duration
	for range 40 {
		got = l.When(req)
	}
	if got != last {
		t.Errorf("the time in the end is %s, want %s", got, last)
	}
}
