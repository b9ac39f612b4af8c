// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command probe is what end-to-end tests run in pods. It needs no shell and no API server:
//
//	probe serve PORT [FAREWELL]          echoes TCP, and counts nothing; told to end, it does so after FAREWELL, at once else
//	probe listen REPORT PORT             counts UDP datagrams
//	probe watch REPORT PORT ADDRESS...   keeps one TCP connection and a flood of echo requests to each address
//	probe hold REPORT COUNT TARGET...    keeps COUNT TCP connections to each address and port
//	probe ask REPORT TARGET...           makes one TCP connection after another to each address and port
//	probe call REPORT PORT ADDRESS       connects until it is answered, from the first instant on
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "serve":
		return serveOn(args[1], args[2])
	case len(args) == 3 && args[0] == "listen":
		return listen(args[1], args[2])
	case len(args) >= 4 && args[0] == "watch":
		return watch(args[1], args[2], args[3:])
	case len(args) >= 4 && args[0] == "hold":
		return hold(args[1], args[2], args[3:])
	case len(args) >= 3 && args[0] == "ask":
		return ask(args[1], args[2:])
	case len(args) == 4 && args[0] == "call":
		return call(args[1], net.JoinHostPort(args[3], args[2]))
	}
	return fmt.Errorf("usage: probe serve PORT [FAREWELL] | listen REPORT PORT | watch REPORT PORT ADDRESS... | hold REPORT COUNT TARGET... | " +
		"ask REPORT TARGET... | call REPORT PORT ADDRESS")
}

func serve(port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// serveOn serves on for a while after it was told to end, as a server does that terminates properly: who was led to it just
// before is answered.
func serveOn(port, farewell string) error {
	long, err := time.ParseDuration(farewell)
	if err != nil {
		return fmt.Errorf("farewell: %w", err)
	}
	ended, failed := make(chan os.Signal, 1), make(chan error, 1)
	signal.Notify(ended, unix.SIGTERM)
	go func() { failed <- serve(port) }()
	select {
	case err := <-failed:
		return err
	case <-ended:
		time.Sleep(long)
		return nil
	}
}

func listen(file, port string) error {
	conn, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	r := report.Report{Datagrams: map[string]int{}}
	if err := r.Write(file); err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		host, _, err := net.SplitHostPort(from.String())
		if err != nil {
			return err
		}
		r.Datagrams[host+" "+string(buffer[:n])]++
		if err := r.Write(file); err != nil {
			return err
		}
	}
}

// call tries every millisecond, so that the first packet that could pass does.
func call(file, target string) error {
	r := report.Report{Started: time.Now()}
	for r.Answered.IsZero() {
		if conn, err := net.DialTimeout("tcp", target, 100*time.Millisecond); err == nil {
			conn.Close()
			r.Answered = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.Write(file); err != nil {
		return err
	}
	select {}
}
