// SPDX-License-Identifier: Apache-2.0

package room

import "k8s.io/apimachinery/pkg/util/validation/field"

// MostErrors is how many errors a client is told of: the machinery joins them one by one, each time anew.
const MostErrors = 1000

// Few returns errs, or of many the first ones and one that tells how many are left out.
func Few(errs field.ErrorList) field.ErrorList {
	if len(errs) <= MostErrors {
		return errs
	}
	few := errs[:MostErrors:MostErrors]
	next := errs[MostErrors]
	return append(few, &field.Error{
		Type: field.ErrorTypeTooMany, Field: next.Field, BadValue: len(errs), Detail: "errors; mend those before this one, the others are not shown",
	})
}
