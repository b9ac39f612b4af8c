# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash # sourced by demo.sh

die() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}
title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
timed() { # WHAT COMMAND...: the command's own output only when it fails
	local what=$1 start=$SECONDS log
	shift
	log=$(mktemp)
	printf '   %-60s ' "$what …"
	if ! "$@" >"$log" 2>&1; then
		printf 'failed\n' && cat "$log" >&2 && rm -f "$log"
		die "$what: $* failed"
	fi
	rm -f "$log"
	printf '%4d s\n' $((SECONDS - start))
}

# show COMMAND...: prints the command and its output; a failure ends the demo.
show() {
	printf '\n\033[36m$ %s\033[0m\n' "$*"
	OUT=$("$@" 2>&1) || { printf '%s\n' "$OUT" && die "failed: $*"; }
	printf '%s\n' "$OUT"
}

# want PATTERN WHAT: the last output must match.
want() { grep -qE -- "$1" <<<"$OUT" || die "$2: the output above does not show it ($1)"; }
# wantnot PATTERN WHAT: the last output must not match.
wantnot() { ! grep -qE -- "$1" <<<"$OUT" || die "$2: the output above shows $1"; }

# until_true SECONDS WHAT COMMAND...: waits for what takes a moment.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || die "$what did not happen in time: $*"
		sleep 0.3
	done
}

in_pod() { # POD COMMAND...
	local pod=$1
	shift
	show kubectl exec "$pod" -- "$@"
}

address() { # KIND/NAME FAMILY
	kubectl get ciliumendpoint "$1" -o jsonpath="{.status.addresses[?(@.family==\"$2\")].ip}"
}
node_of() { kubectl get pod "$1" -o jsonpath='{.spec.nodeName}'; }
node_address() { # NODE 4|6
	kubectl get node "$1" -o jsonpath='{range .status.addresses[?(@.type=="InternalIP")]}{.address}{"\n"}{end}' |
		if [ "$2" = 4 ]; then grep -v :; else grep :; fi | head -1
}
agent_on() { kubectl -n kube-system get pod -l k8s-app=cilium --field-selector "spec.nodeName=$1" -o jsonpath='{.items[0].metadata.name}'; }
url() { case $1 in *:*) echo "http://[$1]:$2" ;; *) echo "http://$1:$2" ;; esac; }

untainted() { [ -z "$(kubectl get nodes -o jsonpath='{.items[*].spec.taints[?(@.key=="node.cilium.io/agent-not-ready")].key}')" ]; }

control_plane_works() {
	title "1. The agents and the operator run, the nodes are Ready"
	show kubectl get ds cilium -n kube-system
	show kubectl get deploy cilium-operator -n kube-system
	want '2/2' "two operators"
	show kubectl get lease cilium-operator -n kube-system
	want 'cilium-operator +[^ ]+' "one of them leads"
	until_true 30 "the taint node.cilium.io/agent-not-ready going" untainted
	kubectl wait --for=condition=Ready node --all --timeout=60s >/dev/null
	show kubectl get nodes -o wide
	wantnot 'NotReady' "every node is Ready"
}

pods_start() {
	title "2. Pods on two nodes, and two on one"
	# Those of an earlier walk go: step 3 wants to see an agent attach them.
	kubectl delete -f "$HERE/pods.yaml" --ignore-not-found >/dev/null
	show kubectl apply -f "$HERE/pods.yaml"
	until_true 60 "the service account of the namespace" kubectl get serviceaccount default
	kubectl wait --for=condition=Ready pod/client pod/server pod/left pod/right --timeout=90s >/dev/null ||
		{ kubectl describe pods && die "the pods did not get ready"; }
	show kubectl get pods -o wide
}

plugin_and_log() {
	local node agent
	title "3. The CNI plugin, and what the agent says of an endpoint"
	node=$(node_of server)
	agent=$(agent_on "$node")
	show "$HACK/cluster/exec.sh" "$node" ls -l /opt/cni/bin/cilium-cni
	printf '\n\033[36m$ kubectl -n kube-system logs %s | grep default/server\033[0m\n' "$agent"
	OUT=$(kubectl -n kube-system logs "$agent" -c cilium-agent | grep '"default/server"' | tail -3)
	printf '%s\n' "$OUT"
	for word in containerID addresses endpointID identity; do want "$word" "the log names $word"; done
}

state_is_visible() {
	title "4. Every piece of state is an object"
	show kubectl get ciliumendpoints -o wide
	show kubectl describe ciliumendpoint server
	want 'Reason: +Ready' "the endpoint is Ready"
	want 'NoPolicySelects' "what policy says"
	show kubectl get ciliumnodes
	show kubectl get ciliumidentities
	want 'server' "the identity of the server"
	show kubectl get ciliumconfig
}

# reach FROM TO ADDRESS: TCP, UDP, ICMP, a body of 1 MB, the largest packet that may not be fragmented, a datagram that
# must be.
reach() {
	local from=$1 addr=$2 mtu header=28
	[[ $addr != *:* ]] || header=48
	mtu=$(kubectl get ciliumendpoint "$from" -o jsonpath='{.status.interface.mtuBytes}')
	in_pod "$from" curl -sS --max-time 5 "$(url "$addr" 8080)/hostname"
	in_pod "$from" ping -c 2 -W 2 "$addr"
	want ' 0% packet loss' "ping"
	in_pod "$from" ping -c 1 -W 2 -M "do" -s $((mtu - header)) "$addr"
	want ' 0% packet loss' "a full-size packet that must not be fragmented (MTU $mtu)"
	in_pod "$from" sh -c "echo hostname | nc -u -w 2 $addr 8081"
	want '.' "UDP answers"
	in_pod "$from" sh -c "text=\$(head -c 4000 /dev/zero | tr '\\0' x); echo \"echo \$text\" | nc -u -w 2 $addr 8081 | wc -c"
	want '^20[0-9]{2}$' "4 KB of UDP in fragments, and the 2 KB that agnhost reads of them back in fragments"
	in_pod "$from" ping -c 1 -W 2 -s 4000 "$addr"
	want ' 0% packet loss' "4 KB of ICMP, in fragments both ways"
	in_pod "$from" sh -c "head -c 1000000 /dev/zero | curl -sS --max-time 10 -o /dev/null -w '%{size_upload} bytes sent, status %{http_code}' -F file=@- $(url "$addr" 8080)/upload"
	want 'status 201' "a body of 1 MB"
}

world_sees_node() { # FROM FAMILY WORLD
	local node
	node=$(node_address "$(node_of "$1")" "$2")
	in_pod "$1" curl -sS --max-time 5 "$(url "$3" 8080)/clientip"
	grep -qF "$node" <<<"$OUT" || die "the world saw $OUT, not the node's address $node: masquerade does not work"
}

packets_flow() {
	local family world apiserver
	for family in 4 6; do
		title "5. Packets, IPv$family: across nodes"
		reach client "$(address server IPv$family)"
		title "5. Packets, IPv$family: on one node"
		reach left "$(address right IPv$family)"
		title "5. Packets, IPv$family: host to pod, pod to the apiserver's node, pod to the world"
		show "$HACK/cluster/exec.sh" "$(node_of client)" curl -sS --max-time 5 "$(url "$(address right IPv$family)" 8080)/hostname"
		show "$HACK/cluster/exec.sh" "$(node_of client)" curl -sS --max-time 5 "$(url "$(address server IPv$family)" 8080)/hostname"
		world=192.0.2.2 apiserver=172.18.0.2
		[ $family = 4 ] || world=2001:db8::2 apiserver=fd00:172:18::2
		in_pod client curl -sSk --max-time 5 "https://$([ $family = 4 ] && echo $apiserver || echo "[$apiserver]"):6443/livez"
		want 'ok|Unauthorized|"code": 401' "the apiserver answers"
		world_sees_node client $family $world
	done
}

# refused COMMAND...: must fail by a refusal, and within a second: nobody waits for an answer that cannot come.
refused() {
	local start end
	printf '\n\033[36m$ %s\033[0m\n' "$*"
	start=${EPOCHREALTIME/[.,]/}
	OUT=$("$@" 2>&1) && die "it was not refused: $*"
	end=${EPOCHREALTIME/[.,]/}
	printf '%s\n(after %d ms, kubectl included)\n' "$OUT" $(((end - start) / 1000))
	want 'refused|Could not connect|Failed to connect' "the connection is refused"
}

cluster_ip() { # SERVICE 4|6
	kubectl get service "$1" -o jsonpath='{range .spec.clusterIPs[*]}{@}{"\n"}{end}' |
		if [ "$2" = 4 ]; then grep -v :; else grep :; fi
}

services_answer() {
	local family ip node
	title "6. Services: no kube-proxy, translated at the socket"
	show kubectl apply -f "$HERE/services.yaml"
	kubectl -n kube-system rollout status deployment/coredns --timeout=120s >/dev/null ||
		{ kubectl -n kube-system describe pods -l k8s-app=kube-dns && die "CoreDNS did not get ready"; }
	show kubectl get services -A -o wide
	until_true 30 "the name of the Service" kubectl exec client -- getent hosts server.default.svc.cluster.local
	in_pod client dig +short server.default.svc.cluster.local A server.default.svc.cluster.local AAAA
	want '10\.96\.' "CoreDNS, itself behind a Service, answers (IPv4)"
	want 'fd00:10:96:' "CoreDNS answers (IPv6)"
	node=$(node_of client)
	for family in 4 6; do
		title "6. Services, IPv$family: by name from a pod, from the node, the peer that a client sees, nobody behind"
		in_pod client curl -sS -$family --max-time 5 http://server/hostname
		want '^server$' "the Service leads to its pod"
		ip=$(cluster_ip server $family)
		show "$HACK/cluster/exec.sh" "$node" curl -sS --max-time 5 "$(url "$ip" 80)/hostname"
		want '^server$' "the node's own processes reach a ClusterIP"
		in_pod client sh -c "echo hostname | nc -u -w 2 $ip 8081"
		want '^server$' "UDP by a Service"
		in_pod client curl -sS --max-time 5 -o /dev/null -w '%{remote_ip}' "$(url "$ip" 80)/hostname"
		want "$ip" "the client sees the Service as its peer"
		refused kubectl exec client -- curl -sS --max-time 5 "$(url "$(cluster_ip nobody $family)" 80)/"
		refused "$HACK/cluster/exec.sh" "$node" curl -sS --max-time 5 "$(url "$(cluster_ip nobody $family)" 80)/"
	done
	ip=$(node_address "$node" 4)
	show "$HACK/cluster/exec.sh" "$node" curl -sS --max-time 5 "http://$ip:30080/hostname"
	want '^server$' "the node port at the node's own address"
	show kubectl get ciliumnode "$node" -o jsonpath='{.status.conditions[?(@.type=="ServicesProgrammed")].message}'
	want 'Every Service' "the state is visible"
}

walk() {
	control_plane_works
	pods_start
	plugin_and_log
	state_is_visible
	packets_flow
	services_answer
}
