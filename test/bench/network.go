// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hivemind-project/hivemind/hack/images/build"
)

// questions is how many queries, and how many requests to each address, make one run.
const questions = 2000

// network measures how long DNS takes to answer, and what a request to a ClusterIP takes beyond one to the pod behind it.
func (b *bench) network(ctx context.Context) (err error) {
	c, err := b.cluster("network", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reset(c)) }()
	if _, err := c.Up(ctx); err != nil {
		return err
	}
	if err := b.serve(ctx, c); err != nil {
		return err
	}
	client, err := clientFor(c)
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	pod, err := pods.Create(ctx, &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "web", Image: build.Public + "/guestbook-web:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	service, err := client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       v1.ServiceSpec{Selector: pod.Labels, Ports: []v1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	system, err := client.CoreV1().Services(metav1.NamespaceSystem).Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	direct := func() (string, error) {
		pod, err = pods.Get(ctx, "web", metav1.GetOptions{})
		return "http://" + pod.Status.PodIP + ":8080/healthz", err
	}
	viaService := "http://" + service.Spec.ClusterIP + "/healthz"
	deadline := time.Now().Add(time.Minute)
	for {
		url, err := direct()
		if err != nil {
			return err
		}
		_, e1 := request(url)
		_, e2 := request(viaService)
		if e1 == nil && e2 == nil {
			break
		}
		if time.Now().After(deadline) {
			return errors.Join(e1, e2)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}

	answers := row{what: "DNS answer, p99", unit: "ms", limit: 1}
	added := row{what: "ClusterIP over pod address, added latency", unit: "ms", limit: 0.05}
	for range b.runs {
		p99, err := timeDNS(system.Spec.ClusterIP + ":53")
		if err != nil {
			return err
		}
		answers.values = append(answers.values, p99)
		url, err := direct()
		if err != nil {
			return err
		}
		more, err := timeService(url, viaService)
		if err != nil {
			return err
		}
		added.values = append(added.values, more)
	}
	b.rows = append(b.rows, answers, added)
	return nil
}

// timeDNS asks for a service again and again, and returns the 99th percentile in milliseconds.
func timeDNS(server string) (float64, error) {
	client := &dns.Client{Timeout: 5 * time.Second}
	conn, err := client.Dial(server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	took := make([]float64, 0, questions)
	for range questions {
		q := new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
		answer, rtt, err := client.ExchangeWithConn(q, conn)
		if err != nil {
			return 0, err
		}
		if len(answer.Answer) != 1 {
			return 0, fmt.Errorf("DNS answered %v", answer)
		}
		took = append(took, milliseconds(rtt))
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}

// timeService takes turns between both addresses, so that what else the machine does hits both alike, and returns the
// difference of the medians in milliseconds. Every request has a connection of its own, since that is what a service
// makes dearer.
func timeService(direct, service string) (float64, error) {
	took := map[string][]float64{}
	for range questions {
		for _, url := range []string{direct, service} {
			d, err := request(url)
			if err != nil {
				return 0, err
			}
			took[url] = append(took[url], milliseconds(d))
		}
	}
	median := func(url string) float64 {
		slices.Sort(took[url])
		return took[url][len(took[url])/2]
	}
	return max(0, median(service)-median(direct)), nil
}

// request gets a page on a new connection.
func request(url string) (time.Duration, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}
	begin := time.Now()
	answer, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, answer.Status)
	}
	return time.Since(begin), nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
