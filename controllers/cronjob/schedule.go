// SPDX-License-Identifier: Apache-2.0

package cronjob

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/hivemind-project/hivemind/apis/batch"
)

// late is added to the next time, so that a clock that is corrected a little does not bring us there too early.
const late = 100 * time.Millisecond

// schedule reads when the cron job is due, in its time zone, or in that of this process if it names none.
func schedule(cj *batchv1.CronJob) (cron.Schedule, error) {
	text := cj.Spec.Schedule
	if cj.Spec.TimeZone != nil && !strings.Contains(text, "TZ") {
		text = "TZ=" + *cj.Spec.TimeZone + " " + text
	}
	return batch.ParseSchedule(text)
}

// due is what a schedule says of the time up to now.
type due struct {
	// since is where we look from: the last start, or else the creation, or the starting deadline if that is later.
	since time.Time
	// last is the last time that was due, zero if there was none.
	last time.Time
	// missed is how many times were due before last, roughly where the schedule is irregular.
	missed int64
}

// dueAt finds the last time that was due. However many were missed, it looks at a few: it goes back from now, in steps that
// double, by the time between the first two.
func dueAt(cj *batchv1.CronJob, s cron.Schedule, now time.Time, withDeadline bool) (due, error) {
	d := due{since: cj.CreationTimestamp.Time}
	if last := cj.Status.LastScheduleTime; last != nil {
		d.since = last.Time
	}
	if seconds := cj.Spec.StartingDeadlineSeconds; withDeadline && seconds != nil {
		if earliest := now.Add(-time.Duration(*seconds) * time.Second); earliest.After(d.since) {
			d.since = earliest
		}
	}
	first := s.Next(d.since)
	second := s.Next(first)
	switch {
	case now.Before(first):
		return d, nil
	case now.Before(second):
		d.last = first
		return d, nil
	}
	gap := second.Sub(first).Round(time.Second)
	if gap < time.Second {
		// The thirtieth of February: the schedule has no next time.
		return d, errors.New("time difference between two schedules is less than 1 second")
	}
	gaps := int64(now.Sub(first) / gap)
	d.missed = gaps + 1
	for back := int64(1); d.last.IsZero(); back *= 2 {
		from := d.since
		if back < gaps {
			from = first.Add(time.Duration(gaps-back) * gap)
		}
		for t := s.Next(from); !t.After(now); t = s.Next(t) {
			d.last = t
		}
	}
	return d, nil
}

// untilNext is how long it takes until the cron job is due next.
func untilNext(cj *batchv1.CronJob, s cron.Schedule, now time.Time) time.Duration {
	after := now
	if d, err := dueAt(cj, s, now, false); err == nil {
		if after = d.since; !d.last.IsZero() {
			after = d.last
		}
	}
	return s.Next(after).Add(late).Sub(now)
}
