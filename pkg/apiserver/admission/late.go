// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/tools/cache"
)

// late is a plugin that acts by objects of the API and is built when there is the first of them. Most clusters have none, and
// an environment for CEL, which these plugins begin with, costs several megabytes and tens of milliseconds.
type late struct {
	name string
	// objects are the stores of informers; the plugin has something to do once all of them hold something.
	objects []cache.Store
	build   func() (admission.Interface, error)

	building sync.Mutex
	built    atomic.Pointer[admission.Interface]
}

// plugin is nil while there is nothing to act by, and where operation is not the plugin's business.
func (l *late) plugin(operation admission.Operation) (admission.Interface, error) {
	built := l.built.Load()
	if built == nil {
		for _, store := range l.objects {
			if len(store.ListKeys()) == 0 {
				return nil, nil
			}
		}
		var err error
		if built, err = l.make(); err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("build admission plugin %s: %w", l.name, err))
		}
	}
	if !(*built).Handles(operation) {
		return nil, nil
	}
	return *built, nil
}

func (l *late) make() (*admission.Interface, error) {
	l.building.Lock()
	defer l.building.Unlock()
	if built := l.built.Load(); built != nil {
		return built, nil
	}
	plugin, err := l.build()
	if err != nil {
		return nil, err
	}
	l.built.Store(&plugin)
	return &plugin, nil
}

// Handles implements admission.Interface.
func (l *late) Handles(admission.Operation) bool { return true }

// lateMutation is a late plugin that changes objects.
type lateMutation struct{ *late }

// Admit implements admission.MutationInterface.
func (l lateMutation) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, err := l.plugin(a.GetOperation())
	if plugin == nil || err != nil {
		return err
	}
	return plugin.(admission.MutationInterface).Admit(ctx, a, o)
}

// lateValidation is a late plugin that refuses objects.
type lateValidation struct{ *late }

// Validate implements admission.ValidationInterface.
func (l lateValidation) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, err := l.plugin(a.GetOperation())
	if plugin == nil || err != nil {
		return err
	}
	return plugin.(admission.ValidationInterface).Validate(ctx, a, o)
}

var (
	_ admission.MutationInterface   = lateMutation{}
	_ admission.ValidationInterface = lateValidation{}
)
