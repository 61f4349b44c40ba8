#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Writes every generated file (zz_generated.*) anew. The OpenAPI definitions of all types, 2.5 MB of Go, are an
# intermediate product and stay in build/.
set -eu
cd "$(dirname "$0")/.."

header=$(mktemp)
trap 'rm -f "$header"' EXIT
printf '// SPDX-License-Identifier: Apache-2.0\n\n' >"$header"

# Released versions alone, those are what the API server serves; of the others, what released types refer to.
go tool openapi-gen \
	--go-header-file "$header" \
	--output-dir build/openapi/definitions \
	--output-pkg github.com/hivemind-project/hivemind/build/openapi/definitions \
	--output-file zz_generated.openapi.go \
	--report-filename build/openapi/violations.txt \
	k8s.io/api/admissionregistration/v1 \
	k8s.io/api/apidiscovery/v2 \
	k8s.io/api/apps/v1 \
	k8s.io/api/authentication/v1 \
	k8s.io/api/authorization/v1 \
	k8s.io/api/autoscaling/v1 \
	k8s.io/api/autoscaling/v2 \
	k8s.io/api/batch/v1 \
	k8s.io/api/certificates/v1 \
	k8s.io/api/coordination/v1 \
	k8s.io/api/core/v1 \
	k8s.io/api/discovery/v1 \
	k8s.io/api/events/v1 \
	k8s.io/api/flowcontrol/v1 \
	k8s.io/api/networking/v1 \
	k8s.io/api/node/v1 \
	k8s.io/api/policy/v1 \
	k8s.io/api/rbac/v1 \
	k8s.io/api/resource/v1 \
	k8s.io/api/scheduling/v1 \
	k8s.io/api/scheduling/v1alpha3 \
	k8s.io/api/storage/v1 \
	k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1 \
	k8s.io/apimachinery/pkg/api/resource \
	k8s.io/apimachinery/pkg/apis/meta/v1 \
	k8s.io/apimachinery/pkg/runtime \
	k8s.io/apimachinery/pkg/util/intstr \
	k8s.io/apimachinery/pkg/version \
	k8s.io/kube-aggregator/pkg/apis/apiregistration/v1

go run -tags openapi ./hack/openapi pkg/apiserver/openapi
