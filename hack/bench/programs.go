// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import "context"

func measurePrograms(_ context.Context, _ *cluster, _ *section) error { return nil }
