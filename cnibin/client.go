// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// client talks with the apiserver about CiliumEndpoints: a create and a watch on one HTTP/1.1 connection is all that an
// ADD needs.
type client struct {
	path   string // of the kubeconfig
	now    func() time.Time
	random func() float64
	timing timing

	// patience is how long a 403 may last and still pass; 0 for who does not wait for that.
	patience time.Duration
	// forbiddenSince is when the first of the latest answers said 403, zero when the last one did not.
	forbiddenSince time.Time

	file   []byte // the kubeconfig as last read
	access access
	line   *line
}

func (p *plugin) newClient(path string) (*client, error) {
	c := &client{path: path, now: p.now, random: p.random, timing: p.timing}
	_, err := c.reload()
	return c, err
}

// reload reads the kubeconfig again and says whether it has changed. The agent renews it before the token expires, and
// first of all when it starts: the old pod's token has died with the old pod.
func (c *client) reload() (changed bool, err error) {
	file, err := os.ReadFile(c.path)
	if err != nil {
		return false, fmt.Errorf("read the kubeconfig that the agent writes: %w", err)
	}
	if c.line != nil && bytes.Equal(file, c.file) {
		return false, nil
	}
	access, err := parseKubeconfig(file)
	if err != nil {
		return false, fmt.Errorf("read kubeconfig %s: %w", c.path, err)
	}
	if c.line != nil {
		c.line.hangUp()
	}
	c.file, c.access, c.line = file, access, newLine(access)
	return true, nil
}

// request is one call of the API.
type request struct {
	method string
	path   string
	query  url.Values
	body   any
}

// send returns the response of a success, its body still to be read and closed, or an error that is an *apiError if the
// apiserver said it.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the body: %w", err)
		}
		body = bytes.NewReader(data)
	}
	target := c.access.server.JoinPath(r.path)
	target.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.access.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "cilium-cni")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.line.do(ctx, req)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		resp, err = nil, newAPIError(resp)
	}
	c.note(err)
	return resp, err
}

// note keeps since when the apiserver has been saying 403. Anything else in between, an apiserver that is away as well,
// begins the count anew.
func (c *client) note(err error) {
	switch {
	case !isForbidden(err):
		c.forbiddenSince = time.Time{}
	case c.forbiddenSince.IsZero():
		c.forbiddenSince = c.now()
	}
}

// passes says whether the same request may succeed later.
func (c *client) passes(err error) bool {
	return isTransient(err) || isForbidden(err) && c.now().Sub(c.forbiddenSince) < c.patience
}

// call sends a request within the limit for one and decodes the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, r request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timing.request)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// To its end, or the connection could not be used again.
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}

func (c *client) create(ctx context.Context, want *endpoint) (*endpoint, error) {
	got := &endpoint{}
	err := c.call(ctx, request{method: http.MethodPost, path: collectionPath(want.Metadata.Namespace), body: want}, got)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", want, err)
	}
	return got, nil
}

func (c *client) get(ctx context.Context, namespace, name string) (*endpoint, error) {
	got := &endpoint{}
	err := c.call(ctx, request{method: http.MethodGet, path: objectPath(namespace, name)}, got)
	if err != nil {
		return nil, fmt.Errorf("get %s %s/%s: %w", kind, namespace, name, err)
	}
	return got, nil
}

// delete asks for the deletion of exactly this object: never of another that has taken its name meanwhile.
func (c *client) delete(ctx context.Context, ep *endpoint) error {
	type preconditions struct {
		UID string `json:"uid"`
	}
	options := struct {
		APIVersion    string        `json:"apiVersion"`
		Kind          string        `json:"kind"`
		Preconditions preconditions `json:"preconditions"`
	}{"v1", "DeleteOptions", preconditions{UID: ep.Metadata.UID}}
	path := objectPath(ep.Metadata.Namespace, ep.Metadata.Name)
	err := c.call(ctx, request{method: http.MethodDelete, path: path, body: options}, nil)
	if isNotFound(err) || isConflict(err) {
		return nil // gone already, or the name is another's: either way this object is no more
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", ep, err)
	}
	return nil
}

func (c *client) listNode(ctx context.Context, nodeName string) ([]endpoint, error) {
	list := struct {
		Items []endpoint `json:"items"`
	}{}
	err := c.call(ctx, request{
		method: http.MethodGet,
		path:   "/apis/" + apiVersion + "/" + resource,
		query:  url.Values{"fieldSelector": {"spec.nodeName=" + nodeName}},
	}, &list)
	if err != nil {
		return nil, fmt.Errorf("list the %ss of node %s: %w", kind, nodeName, err)
	}
	return list.Items, nil
}

// watch opens the stream of one object's changes after its resourceVersion.
func (c *client) watch(ctx context.Context, ep *endpoint) (io.ReadCloser, error) {
	resp, err := c.send(ctx, request{
		method: http.MethodGet,
		path:   collectionPath(ep.Metadata.Namespace),
		query: url.Values{
			"watch":           {"1"},
			"fieldSelector":   {"metadata.name=" + ep.Metadata.Name},
			"resourceVersion": {ep.Metadata.ResourceVersion},
			"timeoutSeconds":  {strconv.Itoa(max(1, int(c.timing.watch.Seconds())))},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", ep, err)
	}
	return resp.Body, nil
}

// apiError is what the apiserver says when it does not do what it was asked.
type apiError struct {
	Code       int    `json:"code"`
	Reason     string `json:"reason"`
	Message    string `json:"message"`
	retryAfter time.Duration
}

func newAPIError(resp *http.Response) *apiError {
	e := &apiError{}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	// A proxy on the way may answer with anything at all.
	if err != nil || json.Unmarshal(data, e) != nil || e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	e.Code = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the apiserver answers %d: %s", e.Code, e.Message)
}

func isAlreadyExists(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == http.StatusConflict && e.Reason == "AlreadyExists"
}

func isConflict(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == http.StatusConflict && e.Reason != "AlreadyExists"
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == http.StatusNotFound
}

func isForbidden(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == http.StatusForbidden
}

// isTransient says whether the same request may succeed later: everything that is not the apiserver's own refusal.
func isTransient(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return true
	}
	switch e.Code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return true
	}
	return e.Code >= http.StatusInternalServerError
}
