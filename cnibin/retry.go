// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"time"
)

// retry repeats try, with growing pauses, until it succeeds, is refused for good, or the context ends.
func (c *client) retry(ctx context.Context, try func() error) error {
	pause := c.newPause()
	for {
		err := try()
		if err == nil || !c.passes(err) {
			return err
		}
		if err := pause.wait(ctx, err); err != nil {
			return err
		}
	}
}

// pause is the time between two attempts.
type pause struct {
	client *client
	next   time.Duration
	cause  error // of the last attempt that the context's end did not cut short
}

func (c *client) newPause() *pause {
	return &pause{client: c, next: c.timing.backoff}
}

func (p *pause) reset() { p.next = p.client.timing.backoff }

// wait lets a pause go by, or none if the kubeconfig has changed since cause happened: a new token, or a new address, is
// worth trying at once. When the context has ended, it returns what went wrong until then.
func (p *pause) wait(ctx context.Context, cause error) error {
	if ctx.Err() == nil || p.cause == nil {
		p.cause = cause
	}
	// A file that cannot be read now is not a reason to stop: the old credential may serve again.
	if changed, err := p.client.reload(); err == nil && changed {
		return p.ended(ctx)
	}
	// Half of it by chance, so that a restarted apiserver does not meet all nodes in the same instant.
	delay := p.next/2 + time.Duration(p.client.random()*float64(p.next/2))
	if refused, ok := errors.AsType[*apiError](cause); ok {
		delay = max(delay, min(refused.retryAfter, p.client.timing.limit))
	}
	p.next = min(2*p.next, p.client.timing.limit)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return p.ended(ctx)
}

func (p *pause) ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return p.cause
}
