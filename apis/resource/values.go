// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for values and collections that recur in the kinds of this group.

package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

const unlimited = -1

// validateList checks the length of a list, then its items; those of a list that is too long are not looked at.
func validateList[T any](p *field.Path, list []T, limit int, item func(*field.Path, T) field.ErrorList) field.ErrorList {
	if limit != unlimited && len(list) > limit {
		return field.ErrorList{field.TooMany(p, len(list), limit)}
	}
	var l check.List
	for i, value := range list {
		l.Add(item(p.Index(i), value))
	}
	return l.Errors()
}

// validateSet is validateList for items that may not have a key in common.
func validateSet[T any, K comparable](p *field.Path, list []T, limit int, item func(*field.Path, T) field.ErrorList, key func(T) K) field.ErrorList {
	if limit != unlimited && len(list) > limit {
		return field.ErrorList{field.TooMany(p, len(list), limit)}
	}
	var l check.List
	l.Add(validateList(p, list, unlimited, item))
	seen := sets.New[K]()
	for i, value := range list {
		if k := key(value); seen.Has(k) {
			l.Duplicate(p.Index(i), k)
		} else {
			seen.Insert(k)
		}
	}
	return l.Errors()
}

// validateMap checks the size of a map, then its keys, of which errors are told at the map, and its values. Keys of more
// than shownKey bytes are shortened in paths.
func validateMap[K ~string, T any](p *field.Path, m map[K]T, limit, shownKey int, key func(*field.Path, K) field.ErrorList, value func(*field.Path, T) field.ErrorList) field.ErrorList {
	if limit != unlimited && len(m) > limit {
		return field.ErrorList{field.TooMany(p, len(m), limit)}
	}
	var l check.List
	for _, k := range slices.Sorted(maps.Keys(m)) {
		l.Add(key(p, k))
		l.Add(value(p.Key(shorten(string(k), shownKey)), m[k]))
	}
	return l.Errors()
}

// shorten takes out the middle of what is longer than limit.
func shorten(s string, limit int) string {
	const dots = "..."
	if len(s) <= limit {
		return s
	}
	left := limit - len(dots)
	return s[:(left+1)/2] + dots + s[len(s)-left/2:]
}

func itself[T any](value T) T { return value }

func validateLabel(p *field.Path, name string) field.ErrorList { return check.DNSLabel(p, name) }

func validateClassName(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return check.DNSSubdomain(p, name)
}

// validatePoolName checks the name of a pool: domain names, joined by slashes.
func validatePoolName(p *field.Path, name string) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(p, "")
		return l.Errors()
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		l.TooLong(p, resourcev1.PoolNameMaxLength)
	}
	for part := range strings.SplitSeq(name, "/") {
		l.Add(check.DNSSubdomain(p, part))
	}
	return l.Errors()
}

// validateUID checks a UID in its usual form, RFC 4122 in small letters.
func validateUID(p *field.Path, uid string) field.ErrorList {
	if err := uuid.Validate(uid); err != nil {
		return field.ErrorList{field.Invalid(p, uid, fmt.Sprintf("error validating uid: %v", err))}
	}
	if len(uid) != 36 || uid != strings.ToLower(uid) {
		return field.ErrorList{field.Invalid(p, uid, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")}
	}
	return nil
}

// validateQualifiedName checks the name of an attribute or a capacity, which a domain may stand before. A name of more
// than two parts is not looked at, as in kube-apiserver.
func validateQualifiedName(p *field.Path, name resourcev1.QualifiedName) field.ErrorList {
	var l check.List
	parts := strings.Split(string(name), "/")
	switch len(parts) {
	case 1:
		l.Add(validateIdentifier(p, parts[0]))
	case 2:
		if parts[0] == "" {
			l.Invalid(p, "", "the domain must not be empty")
		} else {
			l.Add(core.ValidateCSIDriverName(p, parts[0]))
		}
		if parts[1] == "" {
			l.Invalid(p, "", "the name must not be empty")
		} else {
			l.Add(validateIdentifier(p, parts[1]))
		}
	}
	return l.Errors()
}

func validateFullyQualifiedName(p *field.Path, name resourcev1.FullyQualifiedName) field.ErrorList {
	var l check.List
	l.Add(validateQualifiedName(p, resourcev1.QualifiedName(name)))
	if !strings.Contains(string(name), "/") {
		l.Invalid(p, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
	return l.Errors()
}

func validateIdentifier(p *field.Path, id string) field.ErrorList {
	var l check.List
	if len(id) > resourcev1.DeviceMaxIDLength {
		l.TooLong(p, resourcev1.DeviceMaxIDLength)
	}
	l.Each(p, id, content.IsCIdentifier(id))
	return l.Errors()
}

func validateLabelValue(p *field.Path, value string) field.ErrorList {
	var l check.List
	l.Each(p, value, utilvalidation.IsValidLabelValue(value))
	return l.Errors()
}

// validateRaw checks an object of a driver's own.
func validateRaw(p *field.Path, raw runtime.RawExtension, stored bool, limit int) field.ErrorList {
	var l check.List
	var value any
	switch {
	case len(raw.Raw) == 0:
		l.Required(p, "")
		return l.Errors()
	case !stored && len(raw.Raw) > limit:
		l.TooLong(p, limit)
		return l.Errors()
	}
	if err := json.Unmarshal(raw.Raw, &value); err != nil {
		l.Invalid(p, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
	} else if value == nil {
		l.Required(p, "")
	} else if _, isObject := value.(map[string]any); !isObject {
		l.Invalid(p, "<value omitted>", "must be a valid JSON object")
	}
	return l.Errors()
}

// deviceID names what was allocated: a device, or one share of it. It is shown in errors by these names.
type deviceID struct {
	Driver, Pool, Device, ShareID string
}

func allocatedDevice(r *resourcev1.DeviceRequestAllocationResult) deviceID {
	id := deviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
	if r.ShareID != nil {
		id.ShareID = string(*r.ShareID)
	}
	return id
}

func reportedDevice(s resourcev1.AllocatedDeviceStatus) deviceID {
	id := deviceID{Driver: s.Driver, Pool: s.Pool, Device: s.Device}
	if s.ShareID != nil {
		id.ShareID = *s.ShareID
	}
	return id
}

func allocatedDevices(allocation *resourcev1.AllocationResult) sets.Set[deviceID] {
	devices := sets.New[deviceID]()
	if allocation != nil {
		for i := range allocation.Devices.Results {
			devices.Insert(allocatedDevice(&allocation.Devices.Results[i]))
		}
	}
	return devices
}

func consumerUID(c resourcev1.ResourceClaimConsumerReference) types.UID { return c.UID }

func isTrue(b *bool) bool { return b != nil && *b }

// joined is the fields that are set, as errors about too many of them show them.
func joined(fields []string) string { return "{" + strings.Join(fields, ", ") + "}" }
