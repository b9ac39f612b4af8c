# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# summary.jq: from ginkgo's report, which specs left themselves out and why, which failed and why, and the counts.

def name: .ContainerHierarchyTexts + [.LeafNodeText] | map(select(. != null and . != "")) | join(" ")
  | if . == "" then "before or after all specs" else . end;
def place: .Failure.Location | "\(.FileName):\(.LineNumber)";
def shorten: if length > 2000 then .[:2000] + " …" else . end;

map(.SpecReports[])
| map(select(.State == "passed" and .LeafNodeType == "It")) as $passed
# Those that nobody asked for are skipped too, but without a reason.
| map(select(.State == "skipped" and (.Failure.Message // "") != "")) as $skipped
| map(select(.State | IN("failed", "panicked", "timedout", "interrupted", "aborted"))) as $failed
| ($skipped[] | "SKIPPED \(name)\n    \(.Failure.Message | shorten)"),
  ($failed[] | "FAILED  \(name)\n    \(place)\n    \(.Failure.Message | shorten | gsub("\n"; "\n    "))"),
  "conformance: \($passed | length) Passed | \($failed | length) Failed | \($skipped | length) Skipped"
