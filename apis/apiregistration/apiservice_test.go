// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in APIServices: the error is the one that kube-apiserver gives.

package apiregistration

import (
	"testing"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const remote = `
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {namespace: kube-system, name: metrics-server}
`

var kind = apitest.Kind[apiregistrationv1.APIService]{
	SetDefaults:          SetDefaultsAPIService,
	Validate:             ValidateAPIService,
	ValidateUpdate:       ValidateAPIServiceUpdate,
	ValidateStatusUpdate: ValidateAPIServiceStatusUpdate,
}

func TestAPIService(t *testing.T) {
	kind.Create(t, remote,
		apitest.Case{Name: "remote"},
		apitest.Case{Name: "local", Change: `spec: {service: null, insecureSkipTLSVerify: false}`},
		apitest.Case{Name: "legacy", Change: `{metadata: {name: v1.}, spec: {group: "", version: v1}}`},
		apitest.Case{Name: "finalizer without a domain", Change: `metadata: {finalizers: [mine]}`},
		apitest.Case{Name: "another name", Change: `metadata: {name: metrics}`,
			Want: `metadata.name: Invalid value: "metrics": must be ` + "`spec.version+\".\"+spec.group`" + `: "v1beta1.metrics.k8s.io"`},
		apitest.Case{Name: "no group", Change: `{metadata: {name: v1beta1.}, spec: {group: ""}}`,
			Want: `spec.group: Required value: only v1 may have an empty group and it better be legacy kube`},
		apitest.Case{Name: "bad group", Change: `{metadata: {name: v1beta1.Metrics}, spec: {group: Metrics}}`,
			Want: `spec.group: Invalid value: "Metrics": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		apitest.Case{Name: "bad version", Change: `{metadata: {name: 1.metrics.k8s.io}, spec: {version: "1"}}`,
			Want: `spec.version: Invalid value: "1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')`},
		apitest.Case{Name: "no priorities", Change: `spec: {groupPriorityMinimum: 0, versionPriority: 0}`,
			Want: `[spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000, spec.versionPriority: Invalid value: 0: must be positive and less than 1000]`},
		apitest.Case{Name: "priorities too high", Change: `spec: {groupPriorityMinimum: 20001, versionPriority: 1001}`,
			Want: `[spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000, spec.versionPriority: Invalid value: 1001: must be positive and less than 1000]`},
		apitest.Case{Name: "local with trust", Change: `spec: {service: null, caBundle: YWJj}`,
			Want: `[spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle, spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify]`},
		apitest.Case{Name: "service without a name", Change: `spec: {service: {namespace: "", name: ""}}`,
			Want: `[spec.service.namespace: Required value, spec.service.name: Required value]`},
		apitest.Case{Name: "bad port", Change: `spec: {service: {port: 70000}}`,
			Want: `spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive`},
		apitest.Case{Name: "trust twice", Change: `spec: {caBundle: YWJj}`,
			Want: `spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present`},
	)
	kind.Update(t, remote,
		apitest.Case{Name: "another service", Change: `spec: {service: {name: metrics}}`},
		apitest.Case{Name: "another group", Change: `spec: {group: metrics}`,
			Want: `metadata.name: Invalid value: "v1beta1.metrics.k8s.io": must be ` + "`spec.version+\".\"+spec.group`" + `: "v1beta1.metrics"`},
	)
	kind.StatusUpdate(t, remote,
		apitest.Case{Name: "unknown", Change: `status: {conditions: [{type: Available, status: Unknown}]}`},
		apitest.Case{Name: "bad status", Change: `status: {conditions: [{type: Available, status: Maybe}]}`,
			Want: `status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown"`},
	)
}

func TestDefaultsAndAvailability(t *testing.T) {
	s := apitest.Object[apiregistrationv1.APIService](t, remote)
	SetDefaultsAPIService(s)
	if s.Spec.Service.Port == nil || *s.Spec.Service.Port != 443 {
		t.Errorf("port %v, want 443", s.Spec.Service.Port)
	}
	PrepareAPIServiceForCreate(s)
	if len(s.Status.Conditions) > 0 {
		t.Errorf("a remote service is %v before anybody looked", s.Status.Conditions)
	}
	s.Spec.Service = nil
	PrepareAPIServiceForCreate(s)
	if !helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available) {
		t.Errorf("a local service is %v, want available", s.Status.Conditions)
	}
}
