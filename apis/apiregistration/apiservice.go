// SPDX-License-Identifier: Apache-2.0

// Package apiregistration says what an APIService is: which server answers for a group and version of the API, and how it ranks in
// discovery.
package apiregistration

import (
	"fmt"
	"strings"

	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"github.com/hivemind-project/hivemind/apis/check"
)

// What priorities may be at most.
const (
	maxGroupPriority   = 20000
	maxVersionPriority = 1000
)

// defaultPort is where a service listens that does not say.
const defaultPort int32 = 443

// SetDefaultsAPIService fills in the port of the service.
func SetDefaultsAPIService(s *apiregistrationv1.APIService) {
	if s.Spec.Service != nil && s.Spec.Service.Port == nil {
		port := defaultPort
		s.Spec.Service.Port = &port
	}
}

// PrepareAPIServiceForCreate makes an APIService that this server answers for itself available from the start.
func PrepareAPIServiceForCreate(s *apiregistrationv1.APIService) {
	if s.Spec.Service == nil {
		helper.SetAPIServiceCondition(s, helper.NewLocalAvailableAPIServiceCondition())
	}
}

// ValidateAPIService checks a new APIService.
func ValidateAPIService(s *apiregistrationv1.APIService) field.ErrorList {
	var l check.List
	spec, p := &s.Spec, field.NewPath("spec")
	required := spec.Version + "." + spec.Group
	// Here a finalizer need not have a domain, as those of other built-in kinds must.
	l.Add(metavalidation.ValidateObjectMeta(&s.ObjectMeta, false, func(name string, prefix bool) []string {
		if errs := check.PathSegmentName(name, prefix); len(errs) > 0 {
			return errs
		}
		if name != required {
			return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", required)}
		}
		return nil
	}, field.NewPath("metadata")))
	if spec.Group == "" && spec.Version != "v1" {
		l.Required(p.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	if spec.Group != "" {
		l.Each(p.Child("group"), spec.Group, validation.IsDNS1123Subdomain(spec.Group))
	}
	l.Each(p.Child("version"), spec.Version, validation.IsDNS1035Label(spec.Version))
	if spec.GroupPriorityMinimum <= 0 || spec.GroupPriorityMinimum > maxGroupPriority {
		l.Invalid(p.Child("groupPriorityMinimum"), spec.GroupPriorityMinimum, "must be positive and less than 20000")
	}
	if spec.VersionPriority <= 0 || spec.VersionPriority > maxVersionPriority {
		l.Invalid(p.Child("versionPriority"), spec.VersionPriority, "must be positive and less than 1000")
	}
	if spec.Service == nil {
		l.Add(validateLocal(p, spec))
	} else {
		l.Add(validateRemote(p, spec))
	}
	return l.Errors()
}

// validateLocal checks what an APIService says of a server that is this one.
func validateLocal(p *field.Path, spec *apiregistrationv1.APIServiceSpec) field.ErrorList {
	var l check.List
	if len(spec.CABundle) != 0 {
		l.Invalid(p.Child("caBundle"), fmt.Sprintf("%d bytes", len(spec.CABundle)), "local APIServices may not have a caBundle")
	}
	if spec.InsecureSkipTLSVerify {
		l.Invalid(p.Child("insecureSkipTLSVerify"), spec.InsecureSkipTLSVerify, "local APIServices may not have insecureSkipTLSVerify")
	}
	return l.Errors()
}

// validateRemote checks where the server is that answers, and how it is known to be that.
func validateRemote(p *field.Path, spec *apiregistrationv1.APIServiceSpec) field.ErrorList {
	var l check.List
	service := p.Child("service")
	if spec.Service.Namespace == "" {
		l.Required(service.Child("namespace"), "")
	}
	if spec.Service.Name == "" {
		l.Required(service.Child("name"), "")
	}
	port := defaultPort
	if spec.Service.Port != nil {
		port = *spec.Service.Port
	}
	if errs := validation.IsValidPortNum(int(port)); errs != nil {
		l.Invalid(service.Child("port"), port, "port is not valid: "+strings.Join(errs, ", "))
	}
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		l.Invalid(p.Child("insecureSkipTLSVerify"), spec.InsecureSkipTLSVerify, "may not be true if caBundle is present")
	}
	return l.Errors()
}

// ValidateAPIServiceUpdate checks an update of an APIService.
func ValidateAPIServiceUpdate(s, before *apiregistrationv1.APIService) field.ErrorList {
	return append(metavalidation.ValidateObjectMetaUpdate(&s.ObjectMeta, &before.ObjectMeta, field.NewPath("metadata")), ValidateAPIService(s)...)
}

// ValidateAPIServiceStatusUpdate checks what is said of an APIService's availability.
func ValidateAPIServiceStatusUpdate(s, before *apiregistrationv1.APIService) field.ErrorList {
	errs := metavalidation.ValidateObjectMetaUpdate(&s.ObjectMeta, &before.ObjectMeta, field.NewPath("metadata"))
	for i, c := range s.Status.Conditions {
		errs = append(errs, check.OneOf(field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
			apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)...)
	}
	return errs
}
