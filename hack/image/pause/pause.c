// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// The sandbox's process: holds the pod's namespaces, reaps orphans, ends when asked.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static void reap(int signal)
{
	(void)signal;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int main(void)
{
	struct sigaction reaping = { .sa_handler = reap, .sa_flags = SA_NOCLDSTOP };

	signal(SIGINT, end);
	signal(SIGTERM, end);
	sigaction(SIGCHLD, &reaping, NULL);
	for (;;)
		pause();
}
