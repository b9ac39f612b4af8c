// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// hands is how many requests are under way at once while many Services are made: more would only wait in the API server.
	hands = 16
	// behind is how many endpoints each of the many has.
	behind = 2

	servicePort, targetPort = 80, 8080
	// measured is the name of the Service that somebody answers. The others lead to nobody.
	measured = "measured"
)

// fleet is a number of Services.
type fleet struct {
	c    *cluster
	size int
	trial
}

// newFleet starts a client and a server on one node, and makes a Service of the server.
func (c *cluster) newFleet(ctx context.Context) (*fleet, error) {
	f := &fleet{c: c, trial: trial{Kubeconfig: c.inNodes}}
	for name, addr := range map[string]*netip.Addr{"client": &f.Client, "server": &f.Server} {
		if err := c.client.Create(ctx, newPod(name, name, here)); err != nil {
			return nil, fmt.Errorf("create pod %s: %w", name, err)
		}
		var err error
		if *addr, err = c.podAddr(ctx, name); err != nil {
			return nil, err
		}
	}
	svc, err := f.add(ctx, measured, []string{f.Server.String()})
	if err != nil {
		return nil, err
	}
	f.size = 1
	node := &corev1.Node{}
	if err := c.client.Get(ctx, client.ObjectKey{Name: here}, node); err != nil {
		return nil, err
	}
	vip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if err != nil {
		return nil, err
	}
	own, err := netip.ParseAddr(node.Status.Addresses[0].Address)
	if err != nil {
		return nil, err
	}
	f.VIP = netip.AddrPortFrom(vip, servicePort)
	f.NodePort = netip.AddrPortFrom(own, uint16(svc.Spec.Ports[0].NodePort))
	return f, nil
}

// podAddr waits until a pod has an address.
func (c *cluster) podAddr(ctx context.Context, name string) (addr netip.Addr, err error) {
	pod := &corev1.Pod{}
	return addr, until(ctx, "the address of pod "+name, func() (bool, error) {
		if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); err != nil || pod.Status.PodIP == "" {
			return false, err
		}
		addr, err = netip.ParseAddr(pod.Status.PodIP)
		return err == nil, err
	})
}

// grow makes more Services, until there are so many.
func (f *fleet) grow(ctx context.Context, size int) error {
	err := inParallel(ctx, f.size, size, func(ctx context.Context, i int) error {
		addrs := make([]string, behind)
		for j := range addrs {
			addrs[j] = netip.AddrFrom4([4]byte{10, byte(200 + j), byte(i >> 8), byte(i)}).String()
		}
		_, err := f.add(ctx, fmt.Sprint("other-", i), addrs)
		return err
	})
	f.size = size
	return err
}

// add makes a Service without selector, and its EndpointSlice.
func (f *fleet) add(ctx context.Context, name string, addrs []string) (*corev1.Service, error) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	svc.Spec.Ports = []corev1.ServicePort{{Port: servicePort}}
	svc.Spec.IPFamilies, svc.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, new(corev1.IPFamilyPolicySingleStack)
	if name == measured {
		svc.Spec.Type = corev1.ServiceTypeNodePort
	}
	if err := f.c.client.Create(ctx, svc); err != nil {
		return nil, fmt.Errorf("create service %s: %w", name, err)
	}
	if err := f.c.client.Create(ctx, newSlice(name, addrs)); err != nil {
		return nil, fmt.Errorf("create the endpoints of service %s: %w", name, err)
	}
	return svc, nil
}

func newSlice(service string, addrs []string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(string), Port: new(int32(targetPort))}},
	}
	for _, addr := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}})
	}
	return s
}

// dissolve deletes all Services that there are, and their endpoints: with the namespace they would go too, but by one hand.
func (c *cluster) dissolve(ctx context.Context) error {
	list := &corev1.ServiceList{}
	if err := c.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return err
	}
	start := time.Now()
	err := inParallel(ctx, 0, len(list.Items), func(ctx context.Context, i int) error {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: list.Items[i].Name}
		return errors.Join(
			client.IgnoreNotFound(c.client.Delete(ctx, &corev1.Service{ObjectMeta: meta})),
			client.IgnoreNotFound(c.client.Delete(ctx, &discoveryv1.EndpointSlice{ObjectMeta: meta})))
	})
	if n := len(list.Items); n > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d Services removed in %s\n", n, time.Since(start).Round(time.Second))
	}
	return err
}

// inParallel does f for the numbers from first to before end, until one fails.
func inParallel(ctx context.Context, first, end int, f func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for i := first; i < end; i++ {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}
