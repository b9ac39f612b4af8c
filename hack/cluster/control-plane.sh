# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# The processes outside nodes: plain processes of the machine, in the network namespaces "cp" and "world".

CONTROL_PLANE=(etcd kube-apiserver kube-controller-manager kube-scheduler)
OUTSIDE=("${CONTROL_PLANE[@]}" world forward)

# start_daemon NAME: a no-op when it runs.
start_daemon() {
	mkdir -p "$LOGS" "$PIDS"
	case $1 in
	etcd | kube-apiserver | kube-controller-manager | kube-scheduler) "start_${1//-/_}" ;;
	world) spawn world "$LOGS/world.log" nsenter --net="$(netns world)" "$BIN/agnhost" netexec --http-port=8080 --udp-port=8081 ;;
	forward) spawn forward "$LOGS/forward.log" "$RUN/forward" -listen "127.0.0.1:$PORT" -netns "$(netns cp)" -to "${API#https://}" ;;
	*) die "no daemon \"$1\" outside the nodes; there are: ${OUTSIDE[*]}" ;;
	esac
}

in_cp() { # NAME COMMAND...
	local name=$1
	shift
	spawn "$name" "$LOGS/$name.log" nsenter --net="$(netns cp)" "$@"
}

start_etcd() {
	# The data is thrown away with the cluster; a test machine's disk would otherwise set the pace of every write.
	in_cp etcd "$BIN/etcd" --name=ciliate --data-dir="$RUN/etcd" --unsafe-no-fsync --log-level=warn \
		--listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
		--listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
		--initial-cluster=ciliate=http://127.0.0.1:2380
}

start_kube_apiserver() {
	in_cp kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
		--advertise-address="$CP_IP" --secure-port=6443 --service-cluster-ip-range="$SVC_CIDR" \
		--client-ca-file="$PKI/ca.crt" \
		--tls-cert-file="$PKI/kube-apiserver.crt" --tls-private-key-file="$PKI/kube-apiserver.key" \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
		--kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" \
		--kubelet-client-key="$PKI/apiserver-kubelet-client.key" \
		--kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
		--requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy-client \
		--requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
		--requestheader-extra-headers-prefix=X-Remote-Extra- \
		--proxy-client-cert-file="$PKI/front-proxy-client.crt" --proxy-client-key-file="$PKI/front-proxy-client.key"
}

start_kube_controller_manager() {
	local config=$KCFG/kube-controller-manager masks=()
	case $IPFAMILY in
	dual) masks=(--node-cidr-mask-size-ipv4=24 --node-cidr-mask-size-ipv6=64) ;;
	ipv4) masks=(--node-cidr-mask-size=24) ;;
	ipv6) masks=(--node-cidr-mask-size=64) ;;
	esac
	in_cp kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$config" \
		--authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
		--bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
		--service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
		--cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
		--allocate-node-cidrs=true --cluster-cidr="$POD_CIDR" --service-cluster-ip-range="$SVC_CIDR" "${masks[@]}"
}

start_kube_scheduler() {
	local config=$KCFG/kube-scheduler
	in_cp kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$config" \
		--authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
		--bind-address=127.0.0.1 --leader-elect=false
}

# healthy NAME: it serves, not only runs.
healthy() {
	case $1 in
	etcd) in_ns cp curl -sf --max-time 1 http://127.0.0.1:2379/health ;;
	kube-apiserver) api_ready ;;
	kube-controller-manager) in_ns cp curl -skf --max-time 1 https://127.0.0.1:10257/healthz ;;
	kube-scheduler) in_ns cp curl -skf --max-time 1 https://127.0.0.1:10259/healthz ;;
	world) in_ns world curl -sf --max-time 1 http://127.0.0.1:8080/clientip ;;
	forward) curl -skf --noproxy '*' --max-time 1 "https://127.0.0.1:$PORT/readyz" ;;
	esac
}
