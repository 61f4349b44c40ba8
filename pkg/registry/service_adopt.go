// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/registry/allocator"
)

// adopters is how many IPAddresses are written at a time: the storage writes as many to the disk at once.
const adopters = 32

// adoptAddresses makes the IPAddresses that services lack, as all do in a data directory from before there were any. It runs before the first
// request, so that none of these addresses can be given to another service. It costs a look into the cache for each address, and a write for
// each that is missing.
func adoptAddresses(ctx context.Context, services []corev1.Service, book addressBook) error {
	missing := addressesWithout(services, book.taken)
	if len(missing) == 0 {
		return nil
	}
	queue := make(chan *networkingv1.IPAddress)
	failed := make(chan error, len(missing))
	var wg sync.WaitGroup
	for range min(adopters, len(missing)) {
		wg.Go(func() {
			for address := range queue {
				// Where two services have one address, the second is told of by the controller that repairs them.
				if err := book.create(ctx, address); err != nil && !errors.Is(err, allocator.ErrAllocated) {
					failed <- fmt.Errorf("write IPAddress %s of service %s/%s: %w", address.Name, address.Spec.ParentRef.Namespace, address.Spec.ParentRef.Name, err)
				}
			}
		})
	}
	for _, address := range missing {
		queue <- address
	}
	close(queue)
	wg.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	klog.InfoS("Wrote IPAddresses of services that had none", "count", len(missing))
	return nil
}

// addressesWithout are the IPAddresses that services need beyond those there are.
func addressesWithout(services []corev1.Service, there func(name string) bool) (missing []*networkingv1.IPAddress) {
	made := map[string]bool{}
	for i := range services {
		for _, ip := range numbersOf(&services[i]).ips {
			addr, err := parseAddress(ip)
			if err != nil || made[addr.String()] || there(addr.String()) {
				continue
			}
			made[addr.String()] = true
			missing = append(missing, newIPAddress(addr, &services[i]))
		}
	}
	return missing
}
