// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// retryAfterSeconds is when a client should ask again for a resourceVersion that is not there yet; Kubernetes' watch cache says the same.
const retryAfterSeconds = 1

// retrying tells clients that ask for a resourceVersion of the future when to ask again. Client libraries wait for that by themselves.
type retrying struct{ storage.Interface }

// Get implements storage.Interface.
func (r retrying) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return askAgain(r.Interface.Get(ctx, key, opts, out))
}

// GetList implements storage.Interface.
func (r retrying) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	return askAgain(r.Interface.GetList(ctx, key, opts, out))
}

func askAgain(err error) error {
	var status *apierrors.StatusError
	if storage.IsTooLargeResourceVersion(err) && errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.RetryAfterSeconds = retryAfterSeconds
	}
	return err
}
