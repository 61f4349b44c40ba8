// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"

	"k8s.io/apiserver/pkg/admission"
)

// chain is plugins in the order in which they act.
type chain []admission.Interface

// NewChain returns plugins as one. All that change an object act before any that only refuses it.
func NewChain(plugins ...admission.Interface) admission.Interface { return chain(plugins) }

// Handles implements admission.Interface.
func (c chain) Handles(operation admission.Operation) bool {
	for _, plugin := range c {
		if plugin.Handles(operation) {
			return true
		}
	}
	return false
}

// Admit implements admission.MutationInterface. It goes through the plugins a second time where one that users bring asked to
// see what those after it have changed.
func (c chain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := c.admit(ctx, a, o); err != nil {
		return err
	}
	again := a.GetReinvocationContext()
	if !again.ShouldReinvoke() {
		return nil
	}
	again.SetIsReinvoke()
	return c.admit(ctx, a, o)
}

func (c chain) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, plugin := range c {
		mutator, ok := plugin.(admission.MutationInterface)
		if !ok || !plugin.Handles(a.GetOperation()) {
			continue
		}
		if err := mutator.Admit(ctx, a, o); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (c chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, plugin := range c {
		validator, ok := plugin.(admission.ValidationInterface)
		if !ok || !plugin.Handles(a.GetOperation()) {
			continue
		}
		if err := validator.Validate(ctx, a, o); err != nil {
			return err
		}
	}
	return nil
}

var (
	_ admission.MutationInterface   = chain{}
	_ admission.ValidationInterface = chain{}
)
