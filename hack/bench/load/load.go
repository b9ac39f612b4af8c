// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes a stream writes and reads at once.
const chunk = 128 << 10

// Path is two ends, and the processors their threads run on.
type Path struct {
	Client, Server End
	// ClientCPU and ServerCPU pin the threads; -1 leaves them to the scheduler.
	ClientCPU, ServerCPU int
}

// Stream sends as fast as one TCP connection can and returns bits per second as the receiver saw them.
func (p Path) Stream(d time.Duration) (float64, error) {
	var received int
	var took time.Duration
	err := p.converse(func(c socket) error {
		buf := make([]byte, chunk)
		for start := time.Now(); time.Since(start) < d; {
			if _, err := c.write(buf); err != nil {
				return err
			}
		}
		return nil
	}, func(s socket) error {
		buf := make([]byte, chunk)
		for start := time.Now(); ; took = time.Since(start) {
			n, err := s.read(buf)
			if err != nil || n == 0 {
				return err
			}
			received += n
		}
	})
	return float64(received*8) / took.Seconds(), err
}

// RequestResponse sends one byte, waits for one, and so on, and returns how often a second.
func (p Path) RequestResponse(d time.Duration) (float64, error) {
	var rate float64
	err := p.converse(func(c socket) (err error) {
		rate, err = repeat(d, func() error { return exchange(c) })
		return err
	}, func(s socket) error {
		b := make([]byte, 1)
		for {
			if n, err := s.read(b); n == 0 || err != nil {
				return err
			}
			if _, err := s.write(b); err != nil {
				return err
			}
		}
	})
	return rate, err
}

// Connect makes a connection for each request of one byte and returns how many a second. The server closes first, as a
// web server does, so that the client never runs out of ports.
func (p Path) Connect(d time.Duration) (float64, error) {
	var rate float64
	err := p.meet(func(to netip.AddrPort) error {
		var err error
		rate, err = repeat(d, func() error { return request(to) })
		// One more, without a byte, is the end.
		c, last := dial(to)
		return errors.Join(err, last, c.close())
	}, func(listener socket) error {
		for {
			if last, err := serve(listener); last || err != nil {
				return err
			}
		}
	})
	return rate, err
}

// request is one connection for one byte each way.
func request(to netip.AddrPort) error {
	c, err := dial(to)
	if err != nil {
		return errors.Join(err, c.close())
	}
	b := make([]byte, 1)
	if err := exchange(c); err != nil {
		return errors.Join(err, c.close())
	}
	if n, err := c.read(b); n != 0 || err != nil {
		return errors.Join(fmt.Errorf("wait for the server's end: %d bytes", n), err, c.close())
	}
	return c.close()
}

// serve answers one connection; one that says nothing is the last.
func serve(listener socket) (last bool, err error) {
	c, err := listener.accept()
	if err != nil {
		return true, err
	}
	b := make([]byte, 1)
	n, err := c.read(b)
	if err == nil && n == 1 {
		_, err = c.write(b)
	}
	return n == 0, errors.Join(err, c.close())
}

// exchange sends a byte and waits for one.
func exchange(c socket) error {
	b := make([]byte, 1)
	if _, err := c.write(b); err != nil {
		return err
	}
	n, err := c.read(b)
	if err == nil && n == 0 {
		return errors.New("the other side has closed")
	}
	return err
}

// repeat does f for a while and returns how often a second.
func repeat(d time.Duration, f func() error) (float64, error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := f(); err != nil {
			return 0, err
		}
		if took := time.Since(start); took >= d {
			return float64(n) / took.Seconds(), nil
		}
	}
}

// converse runs both sides of one connection.
func (p Path) converse(client, server func(socket) error) error {
	return p.meet(func(to netip.AddrPort) error {
		c, err := dial(to)
		if err == nil {
			err = client(c)
		}
		return errors.Join(err, c.close())
	}, func(listener socket) error {
		c, err := listener.accept()
		if err != nil {
			return err
		}
		return errors.Join(server(c), c.close())
	})
}

// meet runs the client and, on a listening socket, the server, each in its namespace on its processor.
func (p Path) meet(client func(netip.AddrPort) error, server func(socket) error) error {
	var listener socket
	var port uint16
	if err := p.Server.OnThread(func() (err error) {
		listener, port, err = listen(p.Server.Addr)
		return err
	}); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() {
		served <- p.Server.OnThread(func() error { return errors.Join(pin(p.ServerCPU), server(listener)) })
	}()
	err := p.Client.OnThread(func() error {
		return errors.Join(pin(p.ClientCPU), client(netip.AddrPortFrom(p.Server.Addr, port)))
	})
	return errors.Join(err, <-served, listener.close())
}

// pin keeps the calling thread on one processor.
func pin(cpu int) error {
	if cpu < 0 {
		return nil
	}
	set := unix.CPUSet{}
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
