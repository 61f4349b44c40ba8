// SPDX-License-Identifier: Apache-2.0

package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

// start runs the controller with a clock that the test sets.
func start(t *testing.T, objs ...runtime.Object) (*testcluster.Cluster, func(time.Time)) {
	t.Helper()
	c := testcluster.New(t, objs...)
	controller, err := New(c.Client, c.Informers.Batch().V1().CronJobs(), c.Informers.Batch().V1().Jobs(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Pointer[time.Time]
	clock.Store(&noon)
	controller.now = func() time.Time { return *clock.Load() }
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	return c, func(at time.Time) { clock.Store(&at) }
}

func jobNames(c *testcluster.Cluster) []string {
	list, err := c.Client.BatchV1().Jobs("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var names []string
	for _, j := range list.Items {
		names = append(names, j.Name)
	}
	slices.Sort(names)
	return names
}

func wantJobs(c *testcluster.Cluster, names ...string) {
	c.Eventually(fmt.Sprint("jobs ", names), func() error {
		if got := jobNames(c); !slices.Equal(got, names) {
			return fmt.Errorf("are %v", got)
		}
		return nil
	})
}

// touch wakes the controller up, as its timer would.
func touch(t *testing.T, c *testcluster.Cluster, annotation string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":%q}}}`, annotation)
	if _, err := c.Client.BatchV1().CronJobs("default").Patch(t.Context(), "tick", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func wantStatus(c *testcluster.Cluster, what string, ok func(*batchv1.CronJobStatus) bool) {
	c.Eventually(what, func() error {
		cj, err := c.Client.BatchV1().CronJobs("default").Get(context.Background(), "tick", metav1.GetOptions{})
		if err == nil && !ok(&cj.Status) {
			err = fmt.Errorf("status is %+v", cj.Status)
		}
		return err
	})
}

func TestStartsJobs(t *testing.T) {
	c, setClock := start(t, newCronJob("* * * * *", last(5*time.Minute)))
	wantJobs(c, "tick-29539440")
	wantStatus(c, "one active", func(s *batchv1.CronJobStatus) bool {
		return len(s.Active) == 1 && s.Active[0].Name == "tick-29539440" && s.Active[0].Kind == "Job" && s.LastScheduleTime.Time.Equal(noon)
	})
	setClock(noon.Add(time.Minute))
	touch(t, c, "1")
	wantJobs(c, "tick-29539440", "tick-29539441")

	job, err := c.Client.BatchV1().Jobs("default").Get(t.Context(), "tick-29539440", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	job.Status = newJobOf("x", 0, batchv1.JobComplete).Status
	if _, err := c.Client.BatchV1().Jobs("default").UpdateStatus(t.Context(), job, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantStatus(c, "the other active", func(s *batchv1.CronJobStatus) bool {
		return len(s.Active) == 1 && s.Active[0].Name == "tick-29539441" && s.LastSuccessfulTime != nil
	})
	for _, want := range []string{"Normal SuccessfulCreate Created job tick-29539440", "Normal SawCompletedJob Saw completed job: tick-29539440, condition: Complete"} {
		if !slices.Contains(c.Events.Lines(), want) {
			t.Errorf("no event %q in %q", want, c.Events.Lines())
		}
	}
}

func TestReplaces(t *testing.T) {
	c, _ := start(t, newCronJob("* * * * *", active("before"), func(cj *batchv1.CronJob) { cj.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent }), newJobOf("before", -1, ""))
	wantJobs(c, "tick-29539440")
	wantStatus(c, "the new one active", func(s *batchv1.CronJobStatus) bool { return len(s.Active) == 1 && s.Active[0].Name == "tick-29539440" })
}

func TestKeepsHistory(t *testing.T) {
	c, _ := start(t, newCronJob("0 0 1 1 *", active("missing")),
		newJobOf("f1", -9, batchv1.JobFailed), newJobOf("f2", -8, batchv1.JobFailed), newJobOf("c1", -7, batchv1.JobComplete))
	wantJobs(c, "c1", "f2")
	wantStatus(c, "nothing active", func(s *batchv1.CronJobStatus) bool { return len(s.Active) == 0 && s.LastSuccessfulTime != nil })
	for _, want := range []string{"Normal SuccessfulDelete Deleted job f1", "Normal MissingJob Active job went missing: missing"} {
		if !slices.Contains(c.Events.Lines(), want) {
			t.Errorf("no event %q in %q", want, c.Events.Lines())
		}
	}
}

// A job that was created before a crash, with no word of it in the status, is not created again.
func TestFindsItsJobAgain(t *testing.T) {
	c, _ := start(t, newCronJob("* * * * *"), newJobOf("tick-29539440", 0, ""))
	wantStatus(c, "it is active", func(s *batchv1.CronJobStatus) bool {
		return len(s.Active) == 1 && s.Active[0].UID == "tick-29539440" && s.LastScheduleTime.Time.Equal(noon)
	})
	if names := jobNames(c); len(names) != 1 {
		t.Errorf("jobs: %v", names)
	}
}

// A new schedule does not start a job for a time that has passed.
func TestScheduleChange(t *testing.T) {
	c, setClock := start(t, newCronJob("0 0 1 1 *"))
	patch := `{"spec":{"schedule":"*/10 * * * *"}}`
	if _, err := c.Client.BatchV1().CronJobs("default").Patch(t.Context(), "tick", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	setClock(noon.Add(10 * time.Minute))
	touch(t, c, "1")
	c.Eventually("the job of ten past", func() error {
		if names := jobNames(c); !slices.Contains(names, "tick-29539450") {
			return errors.New("not there")
		}
		return nil
	})
	if names := jobNames(c); len(names) != 1 {
		t.Errorf("jobs: %v", names)
	}
}
