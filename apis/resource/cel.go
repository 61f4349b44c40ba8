// SPDX-License-Identifier: Apache-2.0

// This file holds selectors of devices, which are CEL expressions. The compiler is the scheduler's own.

package resource

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// validateSelectors checks selectors. Those that are stored may use what newer servers of the cluster know.
func validateSelectors(p *field.Path, selectors []resourcev1.DeviceSelector, stored bool) field.ErrorList {
	return validateList(p, selectors, resourcev1.DeviceSelectorsMaxSize, func(p *field.Path, selector resourcev1.DeviceSelector) field.ErrorList {
		p = p.Child("cel")
		if selector.CEL == nil {
			return field.ErrorList{field.Required(p, "")}
		}
		return validateExpression(p.Child("expression"), selector.CEL.Expression, stored)
	})
}

func validateExpression(p *field.Path, expression string, stored bool) field.ErrorList {
	if len(expression) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(p, "", resourcev1.CELSelectorExpressionMaxLength)}
	}
	kind := environment.NewExpressions
	if stored {
		kind = environment.StoredExpressions
	}
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(expression, dracel.Options{EnvType: &kind})
	switch {
	case result.Error != nil:
		return field.ErrorList{celError(p, expression, result.Error)}
	case result.MaxCost > resourcev1.CELSelectorExpressionMaxCost:
		return field.ErrorList{field.Forbidden(p, "too complex, exceeds cost limit")}
	}
	return nil
}

func celError(p *field.Path, expression string, err *cel.Error) *field.Error {
	switch err.Type {
	case cel.ErrorTypeRequired:
		return field.Required(p, err.Detail)
	case cel.ErrorTypeInvalid:
		return field.Invalid(p, expression, err.Detail)
	case cel.ErrorTypeInternal:
		return field.InternalError(p, err)
	}
	return field.InternalError(p, fmt.Errorf("unsupported error type: %w", err))
}
