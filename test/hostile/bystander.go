// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// pace is how long the bystander waits between requests, and patience how long it waits for an answer.
const (
	pace     = 50 * time.Millisecond
	patience = 30 * time.Second
)

// Bystander is an honest client: it reads and writes a small object, one request after the other, while others misbehave.
type Bystander struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	took   []time.Duration
	errs   []error
}

// Watch starts a bystander.
func Watch(ctx context.Context, config *rest.Config) (*Bystander, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "bystander"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("bystander-%d", time.Now().UnixNano())
	b := &Bystander{}
	ctx, b.cancel = context.WithCancel(ctx)
	b.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			begin := time.Now()
			err := once(ctx, client, name, i)
			if ctx.Err() != nil {
				return
			}
			b.took = append(b.took, time.Since(begin))
			if err != nil {
				b.errs = append(b.errs, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pace):
			}
		}
	})
	return b, nil
}

// once reads, or every other time writes, the object.
func once(ctx context.Context, client kubernetes.Interface, name string, i int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	if i == 0 {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	have, err := maps.Get(ctx, name, metav1.GetOptions{})
	if err != nil || i%2 == 0 {
		return err
	}
	have.Data = map[string]string{"round": fmt.Sprint(i)}
	_, err = maps.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// Stop ends the bystander and returns how long its requests took, in order of time, and those that failed.
func (b *Bystander) Stop() (took []time.Duration, failed []error) {
	b.cancel()
	b.done.Wait()
	slices.Sort(b.took)
	return b.took, b.errs
}
