/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* What is fixed when a program is loaded. Each line has its field in loader.Config; a test demands
 * it.
 */
#ifndef CILIATE_CONFIG_H
#define CILIATE_CONFIG_H

#include "prelude.h"

/* UDP port of VXLAN, host byte order. */
volatile const __u16 tunnel_port = 8472;
/* Native routing: no tunnel between nodes. */
volatile const bool native = false;
/* Every packet crosses the host's stack (beside kube-proxy): no redirects. */
volatile const bool stack_forwarding = false;
/* Pods of other nodes answer clients of Services directly. Only with native routing. */
volatile const bool direct_return = false;
/* Cookie of the node's own network namespace; 0 is nobody's. */
volatile const __u64 host_netns = 0;

#endif
