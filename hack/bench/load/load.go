// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes a stream writes and reads at once.
const chunk = 128 << 10

// Path is two ends.
type Path struct {
	Client, Server End
	// Port is where the server listens; 0 for one of the kernel's choice.
	Port uint16
	// Via is where the client turns to, in the belief that it leads to the server; the server itself if it is not valid.
	Via netip.AddrPort
}

// to is where the client turns to when the server listens on a port.
func (p Path) to(port uint16) netip.AddrPort {
	if p.Via.IsValid() {
		return p.Via
	}
	return netip.AddrPortFrom(p.Server.Addr, port)
}

// Result is what went through, and what it cost.
type Result struct {
	// Rate is in units a second: bits, round trips, connections.
	Rate float64
	// CPU is the processor time of both threads for one unit, in nanoseconds, the kernel's work for them included. It
	// hardly depends on what else the machine does, as the rate does.
	CPU float64
	// Lost are connections that nobody answered; they are no units, but took their time.
	Lost int
}

// Stream sends as fast as one TCP connection can. A unit is a bit that the receiver saw.
func (p Path) Stream(d time.Duration) (Result, error) {
	var received int
	var took time.Duration
	cpu, err := p.converse(func(c socket) error {
		buf := make([]byte, chunk)
		for start := time.Now(); time.Since(start) < d; {
			if err := c.write(buf); err != nil {
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
	bits := float64(received * 8)
	return Result{Rate: bits / took.Seconds(), CPU: float64(cpu) / bits}, err
}

// RequestResponse sends one byte, waits for one, and so on. A unit is a round trip.
func (p Path) RequestResponse(d time.Duration) (Result, error) {
	var done repeated
	cpu, err := p.converse(func(c socket) (err error) {
		done, err = repeat(d, func() error { return exchange(c) })
		return err
	}, echoBytesBack)
	return done.result(cpu), err
}

// echoBytesBack answers each byte until there are no more.
func echoBytesBack(s socket) error {
	b := make([]byte, 1)
	for {
		if n, err := s.read(b); n == 0 || err != nil {
			return err
		}
		if err := s.write(b); err != nil {
			return err
		}
	}
}

// Connect makes a connection for each request of one byte. A unit is a connection. The server closes first, as a web
// server does, so that the client never runs out of ports.
func (p Path) Connect(d time.Duration) (Result, error) {
	var done repeated
	var lost int
	cpu, err := p.meet(func(to netip.AddrPort) error {
		var err error
		done, err = repeat(d, func() error {
			err := request(to)
			if errors.Is(err, errLost) {
				lost++
				return nil
			}
			return err
		})
		return errors.Join(err, sayEnd(to))
	}, func(listener socket) error {
		for {
			if last, err := serve(listener); last || err != nil {
				return err
			}
		}
	})
	done.times = max(1, done.times-lost) // who lost all has no rate, and a rate of one is as good as none
	result := done.result(cpu)
	result.Lost = lost
	return result, err
}

// errLost is a connection that nobody answered.
var errLost = errors.New("no answer")

// lastTries is how often the end is said to a server that does not hear it: some connections are lost.
const lastTries = 10

// sayEnd makes one more connection, without a byte.
func sayEnd(to netip.AddrPort) error {
	for try := 1; ; try++ {
		c, err := dial(to)
		if err = errors.Join(err, c.close()); !errors.Is(err, errLost) || try == lastTries {
			return err
		}
	}
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
	if errors.Is(err, unix.EAGAIN) { // the client waits in vain for a connection that is lost, and will make another
		return false, nil
	}
	if err != nil {
		return true, err
	}
	b := make([]byte, 1)
	n, err := c.read(b)
	if err == nil && n == 1 {
		err = c.write(b)
	}
	return n == 0, errors.Join(err, c.close())
}

// exchange sends a byte and waits for one.
func exchange(c socket) error {
	b := make([]byte, 1)
	if err := c.write(b); err != nil {
		return err
	}
	n, err := c.read(b)
	if err == nil && n == 0 {
		return errors.New("the other side has closed")
	}
	return err
}

// repeated is how often something was done, and in which time.
type repeated struct {
	times int
	took  time.Duration
}

func (r repeated) result(cpu time.Duration) Result {
	return Result{Rate: float64(r.times) / r.took.Seconds(), CPU: float64(cpu) / float64(r.times)}
}

// repeat does f for a while.
func repeat(d time.Duration, f func() error) (repeated, error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := f(); err != nil {
			return repeated{}, err
		}
		if took := time.Since(start); took >= d {
			return repeated{n, took}, nil
		}
	}
}

// converse runs both sides of one connection.
func (p Path) converse(client, server func(socket) error) (time.Duration, error) {
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

// meet runs the client and, on a listening socket, the server, each in its namespace, and returns their processor time.
func (p Path) meet(client func(netip.AddrPort) error, server func(socket) error) (time.Duration, error) {
	var listener socket
	var port uint16
	if err := p.Server.OnThread(func() (err error) {
		listener, port, err = listen(netip.AddrPortFrom(p.Server.Addr, p.Port))
		return err
	}); err != nil {
		return 0, err
	}
	var spent [2]time.Duration
	served := make(chan error, 1)
	go func() {
		served <- p.Server.OnThread(func() error { return clocked(&spent[1], func() error { return server(listener) }) })
	}()
	err := p.Client.OnThread(func() error {
		return clocked(&spent[0], func() error { return client(p.to(port)) })
	})
	if err != nil { // the server would wait for a client that does not come
		err = errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(int(listener), unix.SHUT_RD)))
	}
	err = errors.Join(err, <-served, listener.close())
	return spent[0] + spent[1], err
}

// clocked does f and says how much processor time the calling thread took for it.
func clocked(spent *time.Duration, f func() error) error {
	var before, after unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before)
	err = errors.Join(err, f(), unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after))
	*spent = time.Duration(after.Nano() - before.Nano())
	return err
}
