# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# progress.awk: from what "ginkgo -v" prints, a line for each spec that ended.

function report(spec) {
	sub(/ \[sig-[^][]*\]$/, "", spec) # labels, which the text has already
	printf "conformance: %3d/%s %-7s %5.1f s  %s\n", ++done, total, result, seconds, spec
	fflush()
}

/^Will run [0-9]+ of / { total = $3 }
/^-+$/ { begun = 1; next }

# "• [5.1 seconds]" or "• [FAILED] [5.1 seconds]": several processes name the spec after it, a single one has before.
/^• .*\[[0-9.]+ seconds\]$/ {
	result = match($0, /\[[A-Z][A-Z!]+\]/) ? substr($0, RSTART + 1, RLENGTH - 2) : "ok"
	seconds = substr($0, match($0, /\[[0-9.]+ seconds\]$/) + 1) + 0
	if (begun) next
	report(name)
}
begun && /^\[/ {
	if (seconds == "") name = $0
	else report($0)
}
{ begun = 0; seconds = "" }
