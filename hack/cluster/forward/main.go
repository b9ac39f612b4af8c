// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command forward lends a TCP port of one network namespace to a server in another: it listens on loopback where it
// is started, and dials inside the named namespace.
//
// A socket stays in the namespace it was made in. So the program opens its listener first and then replaces itself,
// through nsenter, by itself inside the other namespace: the inherited listener still hears the first namespace,
// every new connection leaves from the second. No thread changes its namespace and no address is added anywhere.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// inherited is where the listener waits after the exec.
const inherited = 3

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "loopback address to listen on")
	netns := flag.String("netns", "", "path of the namespace to dial in")
	to := flag.String("to", "", "address to dial there")
	flag.Parse()
	if *to == "" {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if *netns != "" {
		err = enter(*listen, *netns, *to)
	} else {
		err = serve(*to)
	}
	log.Fatal(err)
}

// enter opens the listener and becomes the second half inside the namespace. It returns only on error.
func enter(listen, netns, to string) error {
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return fmt.Errorf("parse -listen: %w", err)
	}
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("listen on %s: only loopback is lent out", addr)
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return fmt.Errorf("open the port: %w", err)
	}
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("take the listener's descriptor: %w", err)
	}
	// Dup3 without flags leaves close-on-exec off; when the number is the same already, it would change nothing.
	if fd := int(f.Fd()); fd != inherited {
		err = syscall.Dup3(fd, inherited, 0)
	} else {
		_, err = fcntl(fd, syscall.F_SETFD, 0)
	}
	if err != nil {
		return fmt.Errorf("keep the listener open: %w", err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return syscall.Exec(nsenter, []string{"nsenter", "--net=" + netns, "--", self, "-to", to}, os.Environ())
}

func fcntl(fd, cmd, arg int) (uintptr, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	if errno != 0 {
		return r, errno
	}
	return r, nil
}

// serve accepts on the inherited listener.
func serve(to string) error {
	l, err := net.FileListener(os.NewFile(inherited, "listener"))
	if err != nil {
		return fmt.Errorf("inherit the listener: %w", err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go carry(c.(*net.TCPConn), to)
	}
}

// carry joins one connection to the server until both directions have ended.
func carry(client *net.TCPConn, to string) {
	defer client.Close()
	c, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		log.Printf("Dialing %s: %v", to, err)
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	up := make(chan struct{})
	go func() {
		defer close(up)
		pump(server, client)
	}()
	pump(client, server)
	<-up
}

// pump copies one direction and passes its end on; an error ends both, so that no half-dead pair stays.
func pump(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil && !errors.Is(err, net.ErrClosed) {
		dst.Close()
		src.Close()
		return
	}
	_ = dst.CloseWrite()
}
