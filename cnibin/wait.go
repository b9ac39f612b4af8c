// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/containernetworking/cni/pkg/types"
)

// CNI leaves the codes from 100 on to the plugin: one for each reason that never passes, and two for refusals.
const (
	codeSandboxGone     uint = 100
	codeInvalidNetns    uint = 101
	codePodMismatch     uint = 102
	codeHostNetwork     uint = 103
	codeSecondInterface uint = 110
	codeRefused         uint = 111 // the apiserver refuses for good: 400, 422, a 403 that lasts, …
)

var (
	errVanished = errors.New("the object is gone, or another has its name")
	errWatchEnd = errors.New("the watch ended")
)

// terminalCode is the error code of a reason that never passes, zero for every other.
func terminalCode(reason string) uint {
	switch reason {
	case reasonSandboxGone:
		return codeSandboxGone
	case reasonInvalidNetns:
		return codeInvalidNetns
	case reasonPodMismatch:
		return codePodMismatch
	case reasonHostNetwork:
		return codeHostNetwork
	}
	return 0
}

// waitReady returns the object once its agent has served this very sandbox. Should it vanish, nothing is created again:
// whoever deleted it knew something that this ADD does not.
func (p *plugin) waitReady(ctx context.Context, c *client, own *endpoint) (*endpoint, error) {
	last := own
	err := c.follow(ctx, own, func(ep *endpoint) (bool, error) {
		last = ep
		return ep.served(), terminal(ep)
	})
	switch {
	case err == nil:
		return last, nil
	case isVerdict(err):
		return nil, err
	case errors.Is(err, errVanished):
		return nil, tryAgain(fmt.Sprintf("%s vanished while its agent was to serve it", own), errors.New(last.progress()))
	case ctx.Err() != nil:
		return nil, tryAgain(fmt.Sprintf("%s is not Ready after %s", own, p.timing.add),
			fmt.Errorf("%s (%w)", last.progress(), err))
	default:
		return nil, c.refusal(err)
	}
}

// terminal is the error for a condition Ready whose reason never passes.
func terminal(ep *endpoint) error {
	ready := ep.ready()
	if ready == nil || ready.Status == "True" || terminalCode(ready.Reason) == 0 {
		return nil
	}
	return types.NewError(terminalCode(ready.Reason), ready.Reason+": "+ready.Message, ep.String())
}

// progress says in words how far the agent has come.
func (e *endpoint) progress() string {
	ready := e.ready()
	switch {
	case ready == nil:
		return "the agent of node " + e.Spec.NodeName + " has not acted on it"
	case ready.Status == "True":
		return "it is Ready for container " + e.Status.ContainerID + " of pod UID " + e.Status.PodUID
	}
	return ready.Reason + ": " + ready.Message
}

// follow shows every state of the object to see, the one at hand first, until see says done or fails. When the object
// goes, or another has its name, that is errVanished. A watch that breaks is begun again after a GET.
func (c *client) follow(ctx context.Context, ep *endpoint, see func(*endpoint) (bool, error)) error {
	pause := c.newPause()
	for {
		if done, err := see(ep); done || err != nil {
			return err
		}
		began := c.now()
		err := c.stream(ctx, ep, see)
		if err == nil || !c.passes(err) || errors.Is(err, errVanished) || isVerdict(err) {
			return err
		}
		if c.now().Sub(began) > c.timing.limit {
			pause.reset() // it has lived: its end is the usual one
		}
		if err := pause.wait(ctx, err); err != nil {
			return err
		}
		next, err := c.getRetrying(ctx, ep)
		if isNotFound(err) || err == nil && next.Metadata.UID != ep.Metadata.UID {
			return errVanished
		}
		if err != nil {
			return err
		}
		ep = next
	}
}

func (c *client) getRetrying(ctx context.Context, ep *endpoint) (got *endpoint, err error) {
	err = c.retry(ctx, func() error {
		got, err = c.get(ctx, ep.Metadata.Namespace, ep.Metadata.Name)
		return err
	})
	return got, err
}

// stream reads one watch until see is done, the object vanishes, or the stream ends.
func (c *client) stream(ctx context.Context, ep *endpoint, see func(*endpoint) (bool, error)) error {
	// A connection whose other side has died silently must not hold the ADD until its deadline.
	ctx, cancel := context.WithTimeout(ctx, c.timing.watch+c.timing.limit)
	defer cancel()
	body, err := c.watch(ctx, ep)
	if err != nil {
		return err
	}
	defer body.Close()
	events := json.NewDecoder(body)
	for {
		next, err := decodeEvent(events)
		if err != nil {
			return err
		}
		if next.Metadata.UID != ep.Metadata.UID {
			return errVanished
		}
		if done, err := see(next); done || err != nil {
			return err
		}
	}
}

// decodeEvent reads one event of a watch. The end of the object is errVanished, the end of the watch a transient error.
func decodeEvent(events *json.Decoder) (*endpoint, error) {
	event := struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}{}
	if err := events.Decode(&event); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errWatchEnd
		}
		return nil, fmt.Errorf("%w: %w", errWatchEnd, err)
	}
	switch event.Type {
	case "DELETED":
		return nil, errVanished
	case "ERROR":
		refused := &apiError{Code: http.StatusInternalServerError}
		if err := json.Unmarshal(event.Object, refused); err != nil {
			return nil, fmt.Errorf("%w: decode its error: %w", errWatchEnd, err)
		}
		// As text: whatever the code, a GET tells how the object is.
		return nil, fmt.Errorf("%w: %s", errWatchEnd, refused.Error())
	}
	ep := &endpoint{}
	if err := json.Unmarshal(event.Object, ep); err != nil {
		return nil, fmt.Errorf("%w: decode its object: %w", errWatchEnd, err)
	}
	return ep, nil
}

func isVerdict(err error) bool {
	_, ok := errors.AsType[*types.Error](err)
	return ok
}

// refusal turns an error of the client into one of CNI: what may pass is "try again later".
func (c *client) refusal(err error) error {
	switch {
	case isNotFound(err):
		return tryAgain("the apiserver does not know the namespace, or no "+kind+"s at all", err)
	case c.passes(err):
		return tryAgain("the apiserver does not answer as it should", err)
	}
	return types.NewError(codeRefused, "the apiserver refuses", err.Error())
}

func tryAgain(problem string, cause error) error {
	return types.NewError(types.ErrTryAgainLater, problem, cause.Error())
}
