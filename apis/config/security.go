// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CoreResources are the resources that have no group and are stored.
var CoreResources = []string{
	"configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods",
	"podtemplates", "replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts", "services",
}

func validateEncryption(e *Encryption, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, resource := range e.Resources {
		if why := cannotEncrypt(resource, len(e.Resources)); why != "" {
			errs = append(errs, field.Invalid(path.Child("resources").Index(i), resource, why))
		}
	}
	return errs
}

// cannotEncrypt says why a resource, one of n, cannot be listed.
func cannotEncrypt(resource string, n int) string {
	name, group, _ := strings.Cut(resource, ".")
	switch {
	case resource == None && n == 1:
		return ""
	case resource == None:
		return "must be the only one: leave it out, or the others"
	case strings.Contains(resource, "*"):
		return "must name one resource: list each that is to be encrypted"
	case strings.Contains(resource, "/"):
		return "must be as resource or resource.group, such as secrets or widgets.example.com, without a version or a subresource"
	case group == "" && !slices.Contains(CoreResources, name):
		return "must be a resource: did you mean " + Nearest(name, CoreResources) + "? One of a group is named with it, such as widgets.example.com"
	case resource == "events.events.k8s.io":
		return "must be events, as which these are stored"
	case len(validation.IsDNS1035Label(name)) > 0, group != "" && len(validation.IsDNS1123Subdomain(group)) > 0:
		return "must be as resource or resource.group in lower case, such as secrets or widgets.example.com"
	}
	return ""
}

func validateAudit(a *Audit, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a.PolicyFile == "" {
		if *a != (Audit{}) {
			errs = append(errs, field.Required(path.Child("policyFile"), "without a policy nothing is logged: name one, or leave out the other keys of audit"))
		}
		return errs
	}
	if !filepath.IsAbs(a.PolicyFile) {
		errs = append(errs, field.Invalid(path.Child("policyFile"), a.PolicyFile, "must be an absolute path, such as /etc/hivemind/audit-policy.yaml"))
	}
	if !filepath.IsAbs(a.LogPath) && a.LogPath != "-" {
		errs = append(errs, field.Invalid(path.Child("logPath"), a.LogPath, "must be an absolute path, such as /var/log/hivemind/audit.log, or - for standard output"))
	}
	for _, f := range []struct {
		key   string
		value *int
	}{{"logMaxAge", a.LogMaxAge}, {"logMaxBackup", a.LogMaxBackup}, {"logMaxSize", a.LogMaxSize}} {
		if *f.value < 0 {
			errs = append(errs, field.Invalid(path.Child(f.key), *f.value, "must be 0 or more"))
		}
	}
	return append(errs, oneOf(path.Child("logFormat"), a.LogFormat, AuditFormatJSON, AuditFormatLegacy)...)
}
