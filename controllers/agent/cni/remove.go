// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"errors"
	"os"
	"path/filepath"
)

// RemoveShared takes away what agent and plugin share in runDir: the credential, the heartbeat and the tombstones. What is
// not there is no error.
func RemoveShared(runDir string) error {
	var errs []error
	for _, name := range []string{kubeconfigName, heartbeatName, "deletes"} {
		errs = append(errs, os.RemoveAll(filepath.Join(runDir, name)))
	}
	return errors.Join(errs...)
}
