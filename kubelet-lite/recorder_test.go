// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// memoryRecorder keeps events as "Type Reason message".
type memoryRecorder struct {
	mu   sync.Mutex
	list []string
}

func (r *memoryRecorder) Event(_ runtime.Object, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, kind+" "+reason+" "+message)
}

func (r *memoryRecorder) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	r.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (r *memoryRecorder) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(o, kind, reason, format, args...)
}

func (r *memoryRecorder) WithLogger(klog.Logger) record.EventRecorderLogger { return r }

func (r *memoryRecorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func (r *memoryRecorder) has(part string) bool {
	return slices.ContainsFunc(r.all(), func(e string) bool { return strings.Contains(e, part) })
}
