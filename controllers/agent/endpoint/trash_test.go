// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func TestTrash(t *testing.T) {
	tests := map[string]struct {
		answers []error // of the kernel, in order
		want    []string
	}{
		"a device is deleted":                     {answers: []error{nil}, want: []string{"owner"}},
		"a device that is busy is tried again":    {answers: []error{errors.New("busy"), errors.New("busy"), nil}, want: []string{"owner"}},
		"a device that is not ours is left alone": {answers: []error{fmt.Errorf("no veth: %w", dp.ErrForeignDevice)}, want: []string{"owner"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
			asked, gone := make(chan string, 16), make(chan string, 16)
			answers := tt.answers
			tr := newTrash(func(_ context.Context, name string) error {
				answer := answers[0]
				answers = answers[1:]
				asked <- name
				return answer
			}, func(_ context.Context, r rubbish) { gone <- r.owner }, clock)
			go func() { _ = tr.Start(t.Context()) }()
			tr.put(rubbish{hostIfName: hostIf, owner: "owner"})
			if !tr.has(hostIf) {
				t.Error("the device counts as gone before it was deleted")
			}
			for range tt.answers {
				<-asked
				clock.Step(trashAgain)
			}
			var got []string
			got = append(got, <-gone)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("gone (-want +got):\n%s", diff)
			}
			if tr.has(hostIf) {
				t.Error("the device counts as there after it was deleted")
			}
		})
	}
}
