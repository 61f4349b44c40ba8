// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodeBits is the prefix length of the range of pod addresses that a node gets.
const nodeBits = 24

// NodeName is the name of the simulated node i: the first is called as the machine is, so that adding nodes renames none.
func (c *Config) NodeName(i int) string {
	if i == 0 {
		return c.Node.Name
	}
	return c.Node.Name + "-" + strconv.Itoa(i)
}

// NodeBits is the prefix length of each node's part of Network.PodCIDR: 24, and less where simulated nodes take more pods than
// that has addresses.
func (c *Config) NodeBits() int {
	bits := nodeBits
	// The first address is the network's, the second the gateway's and the last the broadcast's.
	for c.Runtime == RuntimeSimulated && bits > 16 && 1<<(32-bits)-3 < c.Node.MaxPods {
		bits--
	}
	return bits
}

// Delay is a duration of the configuration, which has been validated.
func Delay(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// validateRuntime checks what only one of the runtimes has.
func validateRuntime(c *Config) field.ErrorList {
	errs := oneOf(field.NewPath("runtime"), c.Runtime, RuntimeContainerd, RuntimeSimulated)
	if c.Runtime == RuntimeSimulated {
		return append(errs, validateSimulated(c)...)
	}
	if c.Nodes != nil {
		errs = append(errs, field.Invalid(field.NewPath("nodes"), *c.Nodes, "must not be set with runtime "+c.Runtime+", which runs the one node that this machine is: add runtime: simulated"))
	}
	if !reflect.DeepEqual(c.Simulated, Simulated{}) {
		errs = append(errs, field.Forbidden(field.NewPath("simulated"), "is about the nodes of another runtime: add runtime: simulated, or leave it out"))
	}
	return errs
}

func validateSimulated(c *Config) field.ErrorList {
	errs := validateNodes(c, field.NewPath("nodes"))
	path := field.NewPath("simulated")
	for _, f := range [][2]string{{"pullDelay", c.Simulated.PullDelay}, {"startDelay", c.Simulated.StartDelay}} {
		if d, err := time.ParseDuration(f[1]); f[1] != "" && (err != nil || d < 0) {
			errs = append(errs, field.Invalid(path.Child(f[0]), f[1], "must be a duration, such as 1.5s or 200ms"))
		}
	}
	for _, f := range [][2]string{{"cpu", c.Simulated.CPU}, {"memory", c.Simulated.Memory}} {
		if q, err := resource.ParseQuantity(f[1]); err != nil || q.Sign() <= 0 {
			errs = append(errs, field.Invalid(path.Child(f[0]), f[1], "must be a quantity of more than 0, such as 500m, 4 or 16Gi"))
		}
	}
	if c.Simulated.Zones < 0 {
		errs = append(errs, field.Invalid(path.Child("zones"), c.Simulated.Zones, "must be 0, for none, or more"))
	}
	for i, host := range c.Simulated.Registries {
		if at := path.Child("registries").Index(i); host == AnyRegistry {
			errs = append(errs, field.Invalid(at, host, "must be left out: images of every registry can be pulled where none is named"))
		} else {
			errs = append(errs, registryHost(at, host)...)
		}
	}
	return errs
}

// validateNodes checks that each node can have a name and a range of addresses.
func validateNodes(c *Config, path *field.Path) field.ErrorList {
	if c.Nodes == nil || *c.Nodes == 0 {
		return nil
	}
	n := *c.Nodes
	if n < 0 {
		return field.ErrorList{field.Invalid(path, n, "must be 0, for none, or more")}
	}
	var errs field.ErrorList
	if last := c.NodeName(n - 1); c.Node.Name != "" && len(last) > validation.LabelValueMaxLength {
		errs = append(errs, field.Invalid(path, n, fmt.Sprintf("the last node would be called %s, which has more than %d characters: give a shorter node.name", last, validation.LabelValueMaxLength)))
	}
	if pods, err := netip.ParsePrefix(c.Network.PodCIDR); err == nil && pods.Bits() <= c.NodeBits() {
		if room := 1 << (c.NodeBits() - pods.Bits()); n > room {
			errs = append(errs, field.Invalid(path, n, fmt.Sprintf("network.podCIDR %s has addresses for %d nodes, a /%d each: give a larger range, or begin anew without one", pods, room, c.NodeBits())))
		}
	}
	return errs
}
