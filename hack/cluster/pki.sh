# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# One CA, leaf certificates and kubeconfigs; each is made once and kept (EC P-256: all of it takes a second).

ensure_ca() {
	mkdir -p "$PKI" "$KCFG"
	chmod 700 "$PKI" "$KCFG"
	[ ! -s "$PKI/sa.pub" ] || return 0
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/ca.key"
	openssl req -x509 -new -key "$PKI/ca.key" -subj /CN=kubernetes -days 3650 -out "$PKI/ca.crt" \
		-addext keyUsage=critical,keyCertSign,digitalSignature 2>/dev/null
	openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/sa.key"
	openssl ec -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
}

leaf() { # NAME SUBJECT USAGE [SAN]
	local at=$PKI/$1
	[ ! -s "$at.crt" ] || return 0
	{
		echo keyUsage=critical,digitalSignature
		echo "extendedKeyUsage=$3"
		[ -z "${4:-}" ] || echo "subjectAltName=$4"
	} >"$at.ext"
	openssl ecparam -name prime256v1 -genkey -noout -out "$at.key"
	openssl req -new -key "$at.key" -subj "$2" 2>/dev/null |
		openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 3650 \
			-extfile "$at.ext" -out "$at.crt.new" 2>/dev/null
	mv "$at.crt.new" "$at.crt"
}

kubeconfig() { # FILE LEAF SERVER
	local data=()
	[ ! -s "$1" ] || ! grep -qF "\"$3\"" "$1" || return 0
	mapfile -t data < <(base64 -w0 "$PKI/ca.crt" && echo && base64 -w0 "$PKI/$2.crt" && echo && base64 -w0 "$PKI/$2.key")
	cat >"$1.new" <<EOF
apiVersion: v1
kind: Config
current-context: ciliate
contexts: [{name: ciliate, context: {cluster: ciliate, user: $2}}]
clusters: [{name: ciliate, cluster: {server: "$3", certificate-authority-data: ${data[0]}}}]
users: [{name: $2, user: {client-certificate-data: ${data[1]}, client-key-data: ${data[2]}}}]
EOF
	chmod 600 "$1.new"
	mv "$1.new" "$1"
}

client() { # NAME SUBJECT: a client certificate and the kubeconfig for it
	leaf "$1" "$2" clientAuth
	kubeconfig "$KCFG/$1" "$1" "$API"
}

ensure_pki() {
	local n names
	ensure_ca
	names=DNS:localhost,IP:127.0.0.1,IP:::1,IP:$CP4,IP:$CP6,IP:$SVC4.0.1,IP:$SVC6:1
	for n in "" .default .default.svc .default.svc.cluster.local; do names+=,DNS:kubernetes$n; done
	leaf kube-apiserver /CN=kube-apiserver serverAuth "$names"
	leaf apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
	leaf front-proxy-client /CN=front-proxy-client clientAuth
	client admin /O=system:masters/CN=kubernetes-admin
	client kube-controller-manager /CN=system:kube-controller-manager
	client kube-scheduler /CN=system:kube-scheduler
	[ "$NETWORK" != kube-proxy ] || client kube-proxy /CN=system:kube-proxy
	for n in $NODES; do
		client "kubelet-$n" "/O=system:nodes/CN=system:node:$n"
		leaf "kubelet-server-$n" "/CN=$n" serverAuth "DNS:$n,IP:$(node_ip4 "$n"),IP:$(node_ip6 "$n")"
	done
	# The one for people and tests goes through the forwarder on loopback.
	kubeconfig "$KUBECONFIG_FILE" admin "https://127.0.0.1:$PORT"
}
