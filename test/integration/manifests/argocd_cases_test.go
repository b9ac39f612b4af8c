// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package manifests

import "fmt"

type healthCase struct{ kind, object, want string }

// with is an object of generation 2 with these conditions.
func with(conditions ...string) string {
	list := ""
	for i, c := range conditions {
		if i > 0 {
			list += ","
		}
		list += c
	}
	return fmt.Sprintf(`{"metadata":{"generation":2},"status":{"conditions":[%s]}}`, list)
}

// is makes one condition, seen at generation 2, whose message is "because".
func is(kind, status, reason string) string {
	return fmt.Sprintf(`{"type":%q,"status":%q,"reason":%q,"message":"because","observedGeneration":2}`, kind, status, reason)
}

func healthCases() map[string]healthCase {
	const fresh = `{"metadata":{"generation":2}}`
	valid, pool := is("Valid", "True", "Valid"), is("PoolAssigned", "True", "Assigned")
	return map[string]healthCase{
		"a fresh config":                      {"CiliumConfig", fresh, "Progressing: the operator has not looked at it yet"},
		"a config judged before it changed":   {"CiliumConfig", `{"metadata":{"generation":3},"status":{"conditions":[` + valid + `]}}`, "Progressing: the operator has not looked at it yet"},
		"a config that contradicts itself":    {"CiliumConfig", with(is("Valid", "False", "Overlap")), "Degraded: because"},
		"a config that no agent runs":         {"CiliumConfig", with(valid), "Progressing: no agent runs it yet"},
		"a config that some agents run":       {"CiliumConfig", with(valid, is("Applied", "False", "RestartRequired")), "Suspended: because"},
		"a config that agents are taking up":  {"CiliumConfig", with(valid, is("Applied", "Unknown", "WaitingForNode")), "Progressing: because"},
		"a config that every agent runs":      {"CiliumConfig", with(valid, is("Applied", "True", "AllNodesCurrent")), "Healthy: because"},
		"a cluster that runs out of numbers":  {"CiliumConfig", with(valid, is("IdentitiesAvailable", "False", "NumbersLow")), "Degraded: because"},
		"a fresh endpoint":                    {"CiliumEndpoint", fresh, "Progressing: no agent has seen it yet"},
		"an endpoint that waits":              {"CiliumEndpoint", with(is("Ready", "False", "WaitingForIdentity")), "Progressing: because"},
		"an endpoint whose predecessor is on": {"CiliumEndpoint", with(is("Ready", "False", "PreviousInstance")), "Progressing: because"},
		"an endpoint that the kernel refused": {"CiliumEndpoint", with(is("Ready", "False", "DatapathError")), "Degraded: because"},
		"an endpoint that serves":             {"CiliumEndpoint", with(is("Ready", "True", "Ready")), "Healthy: because"},
		"an endpoint that lies":               {"CiliumEndpoint", with(is("Ready", "True", "Ready"), is("Untrusted", "True", "PodNotOnNode")), "Degraded: because"},
		"an endpoint on its way out":          {"CiliumEndpoint", `{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}`, "Progressing: being deleted"},
		"an identity in use":                  {"CiliumIdentity", fresh, "Healthy: in use"},
		"an identity that is retired":         {"CiliumIdentity", `{"metadata":{},"status":{"retiredAt":"2026-01-01T00:00:00Z"}}`, "Suspended: retired since 2026-01-01T00:00:00Z: no pod has these labels"},
		"a fresh pool":                        {"CiliumLoadBalancerIPPool", fresh, "Progressing: the operator has not looked at it yet"},
		"a pool that gives addresses":         {"CiliumLoadBalancerIPPool", with(valid, is("Conflicting", "False", "NoOverlap"), is("Exhausted", "False", "AddressesLeft")), "Healthy: addresses are free"},
		"a pool that makes no sense":          {"CiliumLoadBalancerIPPool", with(is("Valid", "False", "InvalidBlock")), "Degraded: because"},
		"a pool in the way of an older one":   {"CiliumLoadBalancerIPPool", with(valid, is("Conflicting", "True", "Overlap")), "Degraded: because"},
		"a pool that is empty":                {"CiliumLoadBalancerIPPool", with(valid, is("Exhausted", "True", "NoAddressLeft")), "Degraded: because"},
		"a pool that is disabled":             {"CiliumLoadBalancerIPPool", `{"metadata":{"generation":2},"spec":{"disabled":true},"status":{"conditions":[` + valid + `]}}`, "Suspended: disabled: Services keep what they have"},
		"a fresh announcement policy":         {"CiliumL2AnnouncementPolicy", fresh, "Progressing: the operator has not looked at it yet"},
		"an announcement policy in force":     {"CiliumL2AnnouncementPolicy", with(valid), "Healthy: because"},
		"an announcement policy of no sense":  {"CiliumL2AnnouncementPolicy", with(is("Valid", "False", "InvalidInterface")), "Degraded: because"},
		"a fresh node":                        {"CiliumNode", fresh, "Progressing: no pod CIDR yet"},
		"a node without a pool":               {"CiliumNode", with(is("PoolAssigned", "False", "PoolExhausted")), "Degraded: because"},
		"a node without an agent":             {"CiliumNode", with(pool), "Progressing: no agent has reported yet"},
		"a node whose agent waits":            {"CiliumNode", with(pool, is("Ready", "False", "WaitingForConfig")), "Progressing: because"},
		"a node whose kernel is too old":      {"CiliumNode", with(pool, is("Ready", "False", "KernelUnsupported")), "Degraded: because"},
		"a node that serves":                  {"CiliumNode", with(pool, is("Ready", "True", "Serving")), "Healthy: because"},
	}
}
