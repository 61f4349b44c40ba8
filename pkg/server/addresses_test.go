// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/hivemind-project/hivemind/apis/config"
)

// addresses are the services that IPAddresses are held for.
func (c *cluster) addresses(t *testing.T) map[string]string {
	t.Helper()
	list, err := c.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for _, a := range list.Items {
		held[a.Name] = a.Spec.ParentRef.Namespace + "/" + a.Spec.ParentRef.Name
	}
	return held
}

func newService(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
}

// What a new cluster has.
func seeded() map[string]string {
	return map[string]string{"10.43.0.1": "default/kubernetes", "10.43.0.10": "kube-system/kube-dns"}
}

// Every address is held by an object, as long as the service has it; what does not become a service leaves none.
func TestAddressesOfServices(t *testing.T) {
	c := startPart(t, filepath.Join(t.TempDir(), "hivemind"), "controllers")
	ctx, services := t.Context(), c.CoreV1().Services("default")

	svc, err := services.Create(ctx, newService("web", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := seeded()
	want[svc.Spec.ClusterIP] = "default/web"
	held := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, c.addresses(t)); diff != "" {
			t.Errorf("%s: addresses -want +got:\n%s", when, diff)
		}
	}
	held("created")
	address, err := c.NetworkingV1().IPAddresses().Get(ctx, svc.Spec.ClusterIP, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
	if diff := cmp.Diff(labels, address.Labels); diff != "" || len(address.ManagedFields) != 1 || address.UID == "" {
		t.Errorf("the address is %+v", address)
	}
	// Its own word on managed fields is what a request would have led to.
	same := address.DeepCopy()
	same.ObjectMeta = metav1.ObjectMeta{Name: "10.43.77.77", Labels: address.Labels}
	if same, err = c.NetworkingV1().IPAddresses().Create(ctx, same, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := string(address.ManagedFields[0].FieldsV1.Raw), string(same.ManagedFields[0].FieldsV1.Raw); got != want {
		t.Errorf("managed fields\ngot  %s\nwant %s", got, want)
	}
	if err := c.NetworkingV1().IPAddresses().Delete(ctx, same.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	if _, err := services.Create(ctx, newService("dry", ""), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	held("dry run")
	invalid := newService("invalid", "10.43.7.7")
	invalid.Spec.Ports = nil
	if _, err := services.Create(ctx, invalid, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a service without ports: %v", err)
	}
	held("invalid")
	if _, err := services.Create(ctx, newService("web", "10.43.7.7"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second service web: %v", err)
	}
	held("name taken")
	if _, err := services.Create(ctx, newService("other", svc.Spec.ClusterIP), metav1.CreateOptions{}); err == nil || !strings.HasSuffix(err.Error(), "provided IP is already allocated") {
		t.Errorf("a second service of one address: %v", err)
	}
	held("address taken")

	svc.Spec.Type, svc.Spec.ExternalName, svc.Spec.ClusterIP, svc.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "example.com", "", nil
	was := address.Name
	if svc, err = services.Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(want, was)
	held("made external")
	svc.Spec.Type, svc.Spec.ExternalName, svc.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "", "10.43.9.9"
	if _, err = services.Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	want["10.43.9.9"] = "default/web"
	held("made internal again")
	if err := services.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(want, "10.43.9.9")
	held("deleted")
}

// A second range serves beside the first from when it is made, and no more from when it is deleted.
func TestSeveralRanges(t *testing.T) {
	c := newCluster(t)
	ctx, services, ranges := t.Context(), c.CoreV1().Services("default"), c.NetworkingV1().ServiceCIDRs()
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.44.0.0/28"}}}
	if _, err := ranges.Create(ctx, more, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(ctx, newService("web", "10.44.0.5"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready := func(status metav1.ConditionStatus, finalizers int) {
		t.Helper()
		eventually(t, fmt.Sprintf("ready %s", status), func() (bool, error) {
			cidr, err := ranges.Get(ctx, "more", metav1.GetOptions{})
			if err != nil || len(cidr.Status.Conditions) == 0 {
				return false, err
			}
			return cidr.Status.Conditions[0].Status == status && len(cidr.Finalizers) == finalizers, fmt.Errorf("%+v, finalizers %v", cidr.Status, cidr.Finalizers)
		})
	}
	ready(metav1.ConditionTrue, 1)
	if err := ranges.Delete(ctx, "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ready(metav1.ConditionFalse, 1)
	eventually(t, "the range gives out nothing", func() (bool, error) {
		_, err := services.Create(ctx, newService("late", "10.44.0.6"), metav1.CreateOptions{})
		if err == nil {
			return false, errors.Join(errors.New("it gave 10.44.0.6"), services.Delete(ctx, "late", metav1.DeleteOptions{}))
		}
		return strings.HasSuffix(err.Error(), "the provided network does not match the current range"), err
	})
	cidr, err := ranges.Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || cmp.Diff([]string{"10.43.0.0/16"}, cidr.Spec.CIDRs) != "" {
		t.Errorf("the default range: %v: %v", cidr.Spec.CIDRs, err)
	}
}

// Requests at the same time for one address leave it to one of them.
func TestOneAddressForOne(t *testing.T) {
	c := startPart(t, filepath.Join(t.TempDir(), "hivemind"), "controllers")
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range cap(results) {
		wg.Go(func() {
			_, err := c.CoreV1().Services("default").Create(t.Context(), newService(fmt.Sprint("s", i), "10.43.5.5"), metav1.CreateOptions{})
			results <- err
		})
	}
	wg.Wait()
	close(results)
	given := 0
	for err := range results {
		switch {
		case err == nil:
			given++
		case !strings.HasSuffix(err.Error(), "provided IP is already allocated"):
			t.Error(err)
		}
	}
	if given != 1 {
		t.Errorf("%d services got one address", given)
	}
}

// A data directory from before there were IPAddresses, or in which they are lost, is given them before the first request. A range that is
// configured anew leaves services what they have.
func TestAddressesOfOldData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hivemind")
	c := startPart(t, dir, "controllers")
	if _, err := c.CoreV1().Services("default").Create(t.Context(), newService("web", "10.43.5.5"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.NetworkingV1().IPAddresses().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	c.stop()

	c = startPart(t, dir, "bootstrap")
	want := seeded()
	want["10.43.5.5"] = "default/web"
	if diff := cmp.Diff(want, c.addresses(t)); diff != "" {
		t.Errorf("addresses -want +got:\n%s", diff)
	}
	c.stop()

	c = startPart(t, dir, "", func(c *config.Config) {
		c.Network.ServiceCIDR, c.Network.ClusterDNS = "10.45.0.0/24", "10.45.0.10"
	})
	if diff := cmp.Diff(map[string]string{"10.45.0.1": "default/kubernetes", "10.45.0.10": "kube-system/kube-dns", "10.43.5.5": "default/web"}, c.addresses(t)); diff != "" {
		t.Errorf("addresses in the new range -want +got:\n%s", diff)
	}
	svc, err := c.CoreV1().Services("default").Create(t.Context(), newService("new", ""), metav1.CreateOptions{})
	if err != nil || !strings.HasPrefix(svc.Spec.ClusterIP, "10.45.0.") {
		t.Errorf("a new service has %s: %v", svc.Spec.ClusterIP, err)
	}
	eventually(t, "word of the address that is of no range", func() (bool, error) {
		events, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=web"})
		if err != nil || len(events.Items) == 0 {
			return false, err
		}
		e := events.Items[0]
		return e.Reason == "ClusterIPOutOfRange" && e.Source.Component == "ipallocator-repair-controller", fmt.Errorf("%+v", e)
	})
}

// A service that changes its type has its address until that is written: what is given back before would be made again by who repairs addresses, or be
// another's while this one still has it.
func TestAddressesAreGivenBackWhenThatIsWritten(t *testing.T) {
	c := newCluster(t)
	services, addresses := c.CoreV1().Services("default"), c.NetworkingV1().IPAddresses()
	svc, err := services.Create(t.Context(), newService("web", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := addresses.Watch(t.Context(), metav1.ListOptions{ResourceVersion: svc.ResourceVersion, FieldSelector: "metadata.name=" + svc.Spec.ClusterIP})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	changed, err := services.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"type":"ExternalName","externalName":"example.com"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := <-w.ResultChan()
	address, ok := event.Object.(*networkingv1.IPAddress)
	if !ok || event.Type != watch.Deleted {
		t.Fatalf("the address: %s %v, want its deletion", event.Type, event.Object)
	}
	if later, err := resourceversion.CompareResourceVersion(address.ResourceVersion, changed.ResourceVersion); err != nil || later <= 0 {
		t.Errorf("the address went at %s and the service changed at %s (%v), want the service first", address.ResourceVersion, changed.ResourceVersion, err)
	}
}

// What an update of a service's status says of its ports and type is not written, so it neither takes nor gives back a port.
func TestStatusOfAServiceMovesNoPorts(t *testing.T) {
	c := newCluster(t)
	services := c.CoreV1().Services("default")
	port := func(name string, number int32) error {
		svc := newService(name, "")
		svc.Spec.Type, svc.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, number
		_, err := services.Create(t.Context(), svc, metav1.CreateOptions{})
		return err
	}
	if err := port("web", 30100); err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{`{"spec":{"ports":[{"port":80,"nodePort":30101}]}}`, `{"spec":{"type":"ExternalName","externalName":"example.com"}}`} {
		if _, err := services.Patch(t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	if err := port("next", 30101); err != nil {
		t.Errorf("a port that no service has: %v", err)
	}
	if err := port("same", 30100); !apierrors.IsInvalid(err) {
		t.Errorf("a port that a service has: %v, want it refused", err)
	}
}
