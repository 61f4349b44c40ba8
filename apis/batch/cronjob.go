// SPDX-License-Identifier: Apache-2.0

// This file holds CronJob.

package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsCronJob fills in what a CronJob leaves open.
func SetDefaultsCronJob(cronJob *batchv1.CronJob) {
	spec := &cronJob.Spec
	if spec.ConcurrencyPolicy == "" {
		spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	setIfNil(&spec.Suspend, false)
	setIfNil(&spec.SuccessfulJobsHistoryLimit, 3)
	setIfNil(&spec.FailedJobsHistoryLimit, 1)
	setTemplateDefaults(&spec.JobTemplate.Spec)
}

// PrepareCronJobForCreate prepares the template.
func PrepareCronJobForCreate(cronJob *batchv1.CronJob) {
	core.PreparePodTemplateSpec(&cronJob.Spec.JobTemplate.Spec.Template, nil)
}

// PrepareCronJobForUpdate prepares the template.
func PrepareCronJobForUpdate(cronJob, before *batchv1.CronJob) {
	core.PreparePodTemplateSpec(&cronJob.Spec.JobTemplate.Spec.Template, &before.Spec.JobTemplate.Spec.Template)
}

// ParseSchedule reads the schedule of a CronJob: five fields, or a word such as @hourly. The library panics on some
// malformed time zones; that is an error like any other.
func ParseSchedule(schedule string) (s cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	return cron.ParseStandard(schedule)
}

// ValidateCronJob checks a new CronJob. Its jobs' names have eleven characters more.
func ValidateCronJob(cronJob *batchv1.CronJob) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&cronJob.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateCronJobSpec(&cronJob.Spec, nil))
	if len(cronJob.Name) > validation.DNS1035LabelMaxLength-11 {
		l.Invalid(field.NewPath("metadata", "name"), cronJob.Name, "must be no more than 52 characters")
	}
	return l.Errors()
}

// ValidateCronJobUpdate checks an update of a CronJob.
func ValidateCronJobUpdate(cronJob, before *batchv1.CronJob) field.ErrorList {
	return append(check.MetadataUpdate(&cronJob.ObjectMeta, &before.ObjectMeta), validateCronJobSpec(&cronJob.Spec, &before.Spec)...)
}

// ValidateCronJobStatusUpdate checks an update of a CronJob's status, which may say anything.
func ValidateCronJobStatusUpdate(_, _ *batchv1.CronJob) field.ErrorList { return nil }

func validateCronJobSpec(spec, before *batchv1.CronJobSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	if at := p.Child("schedule"); spec.Schedule == "" {
		l.Required(at, "")
	} else {
		if _, err := ParseSchedule(spec.Schedule); err != nil {
			l.Invalid(at, spec.Schedule, err.Error())
		}
		if strings.Contains(spec.Schedule, "TZ") {
			l.Invalid(at, spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
		}
	}
	l.Add(check.NonNegativeIfSet(p.Child("startingDeadlineSeconds"), spec.StartingDeadlineSeconds))
	if zone := spec.TimeZone; zone != nil && (before == nil || !ptr.Equal(zone, before.TimeZone)) {
		l.Add(validateTimeZone(p.Child("timeZone"), *zone))
	}
	l.Add(check.RequiredOneOf(p.Child("concurrencyPolicy"), spec.ConcurrencyPolicy,
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent))
	job, at := &spec.JobTemplate.Spec, p.Child("jobTemplate", "spec")
	l.Add(validateJobSpec(at, job))
	if job.Selector != nil {
		l.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated")
	}
	if ptr.Deref(job.ManualSelector, false) {
		l.Add(check.NotSupported(at.Child("manualSelector"), job.ManualSelector, "nil", "false"))
	}
	l.Add(check.NonNegativeIfSet(p.Child("successfulJobsHistoryLimit"), spec.SuccessfulJobsHistoryLimit))
	l.Add(check.NonNegativeIfSet(p.Child("failedJobsHistoryLimit"), spec.FailedJobsHistoryLimit))
	return l.Errors()
}

// validateTimeZone checks a name of the IANA database. The name becomes part of a path, so its form is checked before it
// is looked up.
func validateTimeZone(p *field.Path, zone string) field.ErrorList {
	var l check.List
	if zone == "" {
		l.Invalid(p, zone, "timeZone must be nil or non-empty string")
		return l.Errors()
	}
	valid := regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`)
	for _, part := range strings.Split(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !valid.MatchString(part) {
			l.Invalid(p, zone, "unknown time zone "+zone)
			return l.Errors()
		}
	}
	if strings.EqualFold(zone, "Local") {
		l.Invalid(p, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(zone); err != nil {
		l.Invalid(p, zone, err.Error())
	}
	return l.Errors()
}
