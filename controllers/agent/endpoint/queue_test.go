// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// queue remembers what was added for later.
type queue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	later []reconcile.Request
}

func (q *queue) AddAfter(r reconcile.Request, _ time.Duration) { q.later = append(q.later, r) }
