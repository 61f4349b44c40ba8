// SPDX-License-Identifier: Apache-2.0

package events

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const event = `
metadata: {name: web.1, namespace: default}
eventTime: 2026-01-02T03:04:05.000006Z
reportingController: example.com/controller
reportingInstance: controller-1
action: Pulling
reason: Pulled
regarding: {kind: Pod, namespace: default, name: web}
related: {kind: Node, name: n}
note: done
type: Normal
series: {count: 2, lastObservedTime: 2026-01-02T03:04:06.000006Z}
deprecatedSource: {component: c, host: h}
deprecatedFirstTimestamp: 2026-01-02T03:04:05Z
deprecatedLastTimestamp: 2026-01-02T03:04:05Z
deprecatedCount: 3
`

const stored = `
metadata: {name: web.1, namespace: default}
eventTime: 2026-01-02T03:04:05.000006Z
reportingComponent: example.com/controller
reportingInstance: controller-1
action: Pulling
reason: Pulled
involvedObject: {kind: Pod, namespace: default, name: web}
related: {kind: Node, name: n}
message: done
type: Normal
series: {count: 2, lastObservedTime: 2026-01-02T03:04:06.000006Z}
`

const storedOld = `
source: {component: c, host: h}
firstTimestamp: 2026-01-02T03:04:05Z
lastTimestamp: 2026-01-02T03:04:05Z
count: 3
`

func TestConversion(t *testing.T) {
	shown, kept := apitest.Object[eventsv1.Event](t, event), apitest.Object[corev1.Event](t, stored, storedOld)
	apitest.Same(t, kept, ToCore(shown))
	apitest.Same(t, shown, FromCore(kept))
	apitest.Same(t, &eventsv1.Event{}, FromCore(ToCore(&eventsv1.Event{})))
}

func TestFieldLabel(t *testing.T) {
	for label, want := range map[string]string{
		"metadata.name":       "metadata.name",
		"reason":              "reason",
		"reportingController": "reportingComponent",
		"regarding.name":      "involvedObject.name",
		"involvedObject.name": "",
		"note":                "",
	} {
		if got, ok := FieldLabel(label); got != want || ok != (want != "") {
			t.Errorf("FieldLabel(%q) = %q, %t, want %q", label, got, ok, want)
		}
	}
}

func TestValidation(t *testing.T) {
	kind := apitest.Kind[corev1.Event]{Validate: ValidateEvent, ValidateUpdate: ValidateEventUpdate}
	kind.Create(t, stored,
		apitest.Case{Name: "object without namespace", Change: `{metadata: {namespace: own}, involvedObject: {namespace: null}}`,
			Want: `involvedObject.namespace: Invalid value: "": does not match event.namespace`},
		apitest.Case{Name: "no controller", Change: `reportingComponent: null`, Want: `[reportingController: Required value, reportingController: …`},
		apitest.Case{Name: "no reason", Change: `reason: null`, Want: `reason: Required value`},
		apitest.Case{Name: "no time", Change: `eventTime: null`, Want: `eventTime: Required value`},
		apitest.Case{Name: "unknown type", Change: `type: Bad`, Want: `type: Invalid value: "": has invalid value: Bad`},
		apitest.Case{Name: "fields of the old type", Change: `count: 1`, Want: `count: Invalid value: "": needs to be unset`},
		apitest.Case{Name: "series of one", Change: `series: {count: 1}`, Want: `series.count: Invalid value: "": should be at least 2`},
	)
	kind.Update(t, stored,
		apitest.Case{Name: "series goes on", Change: `series: {count: 3}`},
		apitest.Case{Name: "other message", Change: `message: never mind`, Want: `message: Invalid value: "never mind": field is immutable`},
	)
}
