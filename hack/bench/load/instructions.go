// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instructions is RequestResponse, but returns how many instructions the kernel executes on both threads for one round
// trip. A virtual machine may have no such counter: that is errors.ErrUnsupported.
func (p Path) Instructions(d time.Duration) (float64, error) {
	var spent [2]uint64
	var done repeated
	_, err := p.converse(func(c socket) error {
		return counted(&spent[0], func() (err error) {
			done, err = repeat(d, func() error { return exchange(c) })
			return err
		})
	}, func(s socket) error {
		return counted(&spent[1], func() error { return echoBytesBack(s) })
	})
	return float64(spent[0]+spent[1]) / float64(max(1, done.times)), err
}

// counted does f and says how many instructions the kernel executed for this thread meanwhile.
func counted(spent *uint64, f func() error) error {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_HARDWARE, Config: unix.PERF_COUNT_HW_INSTRUCTIONS,
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitExcludeUser | unix.PerfBitExcludeHv,
	}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("count instructions: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return os.NewSyscallError("count instructions", err)
	}
	err = f()
	var value [8]byte
	_, failure := unix.Read(fd, value[:])
	*spent = binary.NativeEndian.Uint64(value[:])
	return errors.Join(err, failure, unix.Close(fd))
}
