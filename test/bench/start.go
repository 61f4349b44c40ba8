// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/test/cluster"
)

// start measures from the start of `hivemind up` to /readyz and to a Ready node: in a fresh data directory, which includes
// unpacking all programs and making all certificates, and in one that was used before.
func (b *bench) start(ctx context.Context) error {
	fresh := row{what: "up to /readyz, fresh data directory", unit: "s", limit: 1}
	warm := row{what: "up to /readyz, warm", unit: "s", limit: 1}
	node := row{what: "up to node Ready, fresh", unit: "s", limit: 3}
	nodeWarm := row{what: "up to node Ready, warm", unit: "s", limit: 3}
	for i := range b.runs {
		c, err := b.cluster("start", i)
		if err != nil {
			return err
		}
		err = func() error {
			for _, rows := range [][2]*row{{&fresh, &node}, {&warm, &nodeWarm}} {
				ready, nodeReady, err := timeUp(ctx, c)
				if err != nil {
					return err
				}
				rows[0].values = append(rows[0].values, ready.Seconds())
				rows[1].values = append(rows[1].values, nodeReady.Seconds())
				if _, err := c.Verb(ctx, "down"); err != nil {
					return err
				}
			}
			return nil
		}()
		if err := errors.Join(err, reset(c)); err != nil {
			return err
		}
	}
	b.rows = append(b.rows, fresh, warm, node, nodeWarm)
	return nil
}

// timeUp starts a cluster and says how long it took to be ready, and its node.
func timeUp(ctx context.Context, c *cluster.Cluster) (ready, node time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	begin := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := c.Up(ctx)
		done <- err
	}()
	probe := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	url := fmt.Sprintf("https://127.0.0.1:%d/readyz", c.Config.API.Port)
	for answered := false; !answered; {
		if answer, err := probe.Get(url); err == nil {
			answered = answer.StatusCode == http.StatusOK
			if err := answer.Body.Close(); err != nil {
				return 0, 0, err
			}
		}
		if ready = time.Since(begin); !answered {
			if err := pause(ctx, 2*time.Millisecond); err != nil {
				return 0, 0, err
			}
		}
	}
	for isReady := false; !isReady; {
		client, err := clientFor(c)
		if err != nil {
			return 0, 0, err
		}
		if isReady, err = nodeIsReady(ctx, client); err != nil {
			return 0, 0, err
		}
		if node = time.Since(begin); !isReady {
			if err := pause(ctx, 5*time.Millisecond); err != nil {
				return 0, 0, err
			}
		}
	}
	return ready, node, <-done
}

func nodeIsReady(ctx context.Context, client kubernetes.Interface) (bool, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == v1.NodeReady && c.Status == v1.ConditionTrue {
				return true, nil
			}
		}
	}
	return false, nil
}

// clientFor talks to a cluster as its administrator, without limits of its own.
func clientFor(c *cluster.Cluster) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Config.AdminKubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
