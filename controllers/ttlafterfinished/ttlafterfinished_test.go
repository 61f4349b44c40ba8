// SPDX-License-Identifier: Apache-2.0

package ttlafterfinished

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func ended(name string, ttl *int32, conditions ...batchv1.JobConditionType) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: batchv1.JobSpec{TTLSecondsAfterFinished: ttl}}
	for _, kind := range conditions {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(1000, 0))})
	}
	return job
}

func TestExpiry(t *testing.T) {
	deleting := ended("deleting", new(int32(5)), batchv1.JobComplete)
	deleting.DeletionTimestamp = new(metav1.Now())
	for _, test := range []struct {
		job  *batchv1.Job
		due  bool
		want int64
	}{
		{ended("without limit", nil, batchv1.JobComplete), false, 0},
		{ended("running", new(int32(5))), false, 0},
		{ended("about to fail", new(int32(5)), batchv1.JobFailureTarget), false, 0},
		{deleting, false, 0},
		{ended("complete", new(int32(5)), batchv1.JobSuccessCriteriaMet, batchv1.JobComplete), true, 1005},
		{ended("failed, at once", new(int32(0)), batchv1.JobFailed), true, 1000},
	} {
		if at, due := expiry(test.job); due != test.due || due && at.Unix() != test.want {
			t.Errorf("%s: %v, %v", test.job.Name, at, due)
		}
	}
}

func TestDeletesWhatIsDue(t *testing.T) {
	c := testcluster.New(t, []runtime.Object{ended("old", new(int32(10)), batchv1.JobComplete), ended("young", new(int32(3600)), batchv1.JobComplete), ended("kept", nil, batchv1.JobComplete)}...)
	controller, err := New(c.Client, c.Informers.Batch().V1().Jobs())
	if err != nil {
		t.Fatal(err)
	}
	controller.now = func() time.Time { return time.Unix(1011, 0) }
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	c.Eventually("the old job gone", func() error {
		_, err := c.Client.BatchV1().Jobs("default").Get(context.Background(), "old", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	left, err := c.Client.BatchV1().Jobs("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 2 {
		t.Errorf("left: %v, %v", fmt.Sprint(len(left.Items)), err)
	}
}
