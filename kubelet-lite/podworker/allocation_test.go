// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestCompareClaims(t *testing.T) {
	pod := func(name, cpu string, priority int32, guaranteed bool) *v1.Pod {
		p := &v1.Pod{Spec: v1.PodSpec{Priority: &priority, Containers: []v1.Container{{Name: "c"}}}}
		p.Name = name
		r := &p.Spec.Containers[0].Resources
		r.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse("1Gi")}
		if guaranteed {
			r.Limits = r.Requests
		}
		return p
	}
	since := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	held := pod("", "2", 0, false)
	claims := []claim{
		{pod("late", "3", 0, false), held, since(9)},
		{pod("early", "3", 0, false), held, since(1)},
		{pod("guaranteed", "3", 0, true), held, since(9)},
		{pod("important", "3", 7, false), held, since(9)},
		{pod("smaller", "1", -5, false), held, since(9)},
	}
	slices.SortFunc(claims, compareClaims)
	var got []string
	for _, c := range claims {
		got = append(got, c.wanted.Name)
	}
	if diff := cmp.Diff([]string{"smaller", "important", "guaranteed", "early", "late"}, got); diff != "" {
		t.Error(diff)
	}
}
