// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// dialLimit is how long a connection may take to come about, with its handshake.
const dialLimit = 5 * time.Second

// line is the one connection to the apiserver, on which requests follow one another. An http.Transport is made for many
// callers at once and has goroutines for each connection, whose stacks and wake-ups a process of milliseconds pays for
// (docs/design/0001-cni-binary.md).
type line struct {
	address string
	config  *tls.Config
	conn    *tls.Conn // nil while there is none
	in      *bufio.Reader
}

func newLine(a access) *line {
	host, port := a.server.Hostname(), a.server.Port()
	if port == "" {
		port = "443"
	}
	return &line{
		address: net.JoinHostPort(host, port),
		config:  &tls.Config{RootCAs: a.ca, ServerName: host, MinVersion: tls.VersionTLS12},
	}
}

// do sends a request and returns its response, whose body must be closed before the next one. Of ctx only the deadline
// counts, for the body as well.
func (l *line) do(ctx context.Context, req *http.Request) (*http.Response, error) {
	resp, err := l.exchange(ctx, req)
	if err != nil {
		l.hangUp()
		return nil, err
	}
	resp.Body = &lineBody{Reader: resp.Body, line: l, last: resp.Close}
	return resp, nil
}

func (l *line) exchange(ctx context.Context, req *http.Request) (*http.Response, error) {
	if l.conn == nil {
		if err := l.dial(ctx); err != nil {
			return nil, err
		}
	}
	deadline, _ := ctx.Deadline() // zero is none
	if err := l.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := req.Write(l.conn); err != nil {
		return nil, fmt.Errorf("send the request to %s: %w", l.address, felt(ctx, err))
	}
	for {
		resp, err := http.ReadResponse(l.in, req)
		if err != nil {
			return nil, fmt.Errorf("read the response of %s: %w", l.address, felt(ctx, err))
		}
		if resp.StatusCode >= http.StatusOK { // what is below announces another
			return resp, nil
		}
	}
}

func (l *line) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return felt(ctx, err)
	}
	conn := tls.Client(plain, l.config)
	deadline, _ := ctx.Deadline()
	if err = conn.SetDeadline(deadline); err == nil {
		err = conn.Handshake()
	}
	if err != nil {
		return fmt.Errorf("TLS handshake with %s: %w", l.address, felt(ctx, errors.Join(err, plain.Close())))
	}
	l.conn, l.in = conn, bufio.NewReader(conn)
	return nil
}

// felt waits until ctx has seen the deadline that the network felt a moment before: callers ask ctx whether it is over.
func felt(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		<-ctx.Done()
	}
	return err
}

// hangUp closes the connection, if there is one; the next request makes another.
func (l *line) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close() // nothing more is expected of it
		l.conn, l.in = nil, nil
	}
}

// lineBody is the body of a response. When it was read to its end, the connection is free for the next request.
type lineBody struct {
	io.Reader
	line  *line
	last  bool // the apiserver closes the connection after it
	ended bool
}

func (b *lineBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

func (b *lineBody) Close() error {
	if b.last || !b.ended {
		b.line.hangUp()
	}
	return nil
}
