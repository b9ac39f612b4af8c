/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Throws out connections that are over. The agent runs it now and then: in the kernel, because
 * whoever lists a table and deletes afterwards deletes what has come alive meanwhile.
 */
#include "lib/config.h"
#include "lib/conntrack.h"
#include "lib/maps.h"

struct bpf_map;

/* One round over a table. */
struct round {
	__u64 now;
	__u32 removed;
};

static long visit(struct bpf_map *map, const struct tuple *t, struct connection *c,
		  struct round *round)
{
	if (c->expires > round->now && connection_is_current(t, c))
		return 0;
	if (!bpf_map_delete_elem(map, t))
		round->removed++;
	return 0;
}

/* Returns how many it threw out. */
SEC("syscall")
int sweep_connections(void *unused)
{
	struct round round = { .now = bpf_ktime_get_ns() };

	bpf_for_each_map_elem(&conntrack_tcp, visit, &round, 0);
	bpf_for_each_map_elem(&conntrack_other, visit, &round, 0);
	return round.removed;
}

char _license[] SEC("license") = "Dual BSD/GPL";
