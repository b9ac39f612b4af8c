// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package conflict makes a lost race what it is: no error, but a reason to look again. Entry point: Requeue.
package conflict

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
)

// pause is for how long the cache has time to see what won.
const pause = 100 * time.Millisecond

// Requeue passes on what a reconcile ended with; a conflict (another writer was faster, or the object has gone, with or
// without a successor) becomes another try soon.
func Requeue(result ctrl.Result, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: pause}, nil
	}
	return result, err
}
