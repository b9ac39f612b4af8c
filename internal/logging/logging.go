// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package logging makes the one logger of a binary: JSON lines on standard error.
package logging

import (
	"log/slog"
	"os"

	"github.com/go-logr/logr"
)

// New returns a logger for level debug, info or error.
func New(level string) logr.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "error": slog.LevelError}
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: levels[level]}))
}
