# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# summary.awk -v series=6.1: reads a guest's report. One line for each failing test with the last thing it said, what
# programs cost, and counts. Exit status 1 when anything failed, the end is missing or no test ran.

function fail(what, message) {
	failed++
	printf "kernels: %s FAIL %s%s\n", series, what, message == "" ? "" : ": " message
}

function close_package() {
	if (package != "" && status == "")
		fail(package, "the guest ended in the middle of it, in " current)
	else if (status != "" && status != 0 && failed == failed_before)
		fail(package, "ended with status " status ": " (last_words == "" ? current : last_words))
	package = status = last_words = ""
}

function most(list, value) {
	if (value + 0 > list[name])
		list[name] = value + 0
}

# What TestEveryProgramLoadsWithRoomToSpare logs, once for each configuration: "program from_pod: verified 6466
# instructions, stack 136 bytes, machine code 8040 bytes".
function cost() {
	name = $3
	sub(/:$/, "", name)
	if (!(name in verified))
		order[++programs] = name
	most(verified, $5)
	most(stack, $8)
	most(machine, $12)
}

{ sub(/\r$/, "") }
/^@ kernel / { release = $3; next }
/^@ ready / { ready = $3; next }
/^@ error / { fail("guest", substr($0, 9)); next }
/^@ package / { close_package(); package = $3; failed_before = failed; delete said; next }
/^@ exit / { status = $3; close_package(); next }
/^@ end / { ended = $3; next }
/^=== (RUN|CONT|NAME) / { current = $3; next }
/^ *--- PASS: / { passed++; next }
/^ *--- SKIP: / { skipped++; next }
/^ *--- FAIL: / { fail(package " " $3, said[$3]); next }
/^panic: |^fatal error: / { last_words = $0 }
/program [a-z_]+: verified / { cost(); next }
/^ +[a-z0-9_]+\.go:[0-9]+: / { said[current] = $0; sub(/^ +/, "", said[current]) }

END {
	close_package()
	if (ended == "")
		fail("guest", "its report has no end")
	if (passed + failed == 0)
		fail("guest", "not one test ran")
	for (i = 1; i <= programs; i++) {
		name = order[i]
		printf "kernels: %s %-13s at most %6d instructions verified, %3d bytes of stack, %5d bytes of machine code\n",
			series, name, verified[name], stack[name], machine[name]
	}
	printf "kernels: %s (%s, up after %s s, done after %s s): %d passed, %d failed, %d skipped\n",
		series, release, ready, ended, passed, failed, skipped
	exit failed > 0
}
