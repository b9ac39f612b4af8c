// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package retry says when a reconcile that did not succeed is tried again.
package retry

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// first and last bound the time between two tries: a lost race is over within milliseconds, and what a person
	// repairs shall not wait for minutes.
	first, last = 10 * time.Millisecond, 30 * time.Second
	// conflictAgain is how soon a write is tried again that came too early.
	conflictAgain = 20 * time.Millisecond
)

// Limiter is quick at first and patient in the end.
func Limiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](first, last)
}

// Result is what a reconcile returns. A conflict is no error worth a line in the log: the cache was behind the apiserver,
// and is not for long.
func Result(result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictAgain}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return result, nil
}
