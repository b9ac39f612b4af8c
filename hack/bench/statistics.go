// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile is the smallest value that a share q of all does not exceed.
func quantile[T cmp.Ordered](all []T, q float64) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median[T cmp.Ordered](all []T) T { return quantile(all, 0.5) }

// interval is a median and where it is with at least 95 % certainty.
type interval struct {
	low, median, high float64
}

// medianInterval takes the bounds from the order of the values, so that nothing is assumed of how they are spread: the
// number of values below the true median is binomial.
func medianInterval(all []float64) interval {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	below := math.Pow(0.5, float64(n)) // the chance that at most k values lie below the median
	k, term := 0, below
	for k < n/2 {
		term *= float64(n-k) / float64(k+1)
		if below+term > 0.025 {
			break
		}
		below += term
		k++
	}
	return interval{low: sorted[k], median: median(sorted), high: sorted[n-1-k]}
}
