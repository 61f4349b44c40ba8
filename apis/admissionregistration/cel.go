// SPDX-License-Identifier: Apache-2.0

// This file holds the compilation of CEL expressions, and how its errors are told.

package admissionregistration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/hivemind-project/hivemind/apis/check"
)

func environments() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// withoutVariables compiles expressions that cannot refer to variables of a policy; it is shared by all callers.
var withoutVariables = sync.OnceValue(func() plugincel.Compiler { return plugincel.NewCompiler(environments()) })

// scope is where expressions of one policy are compiled: what they can refer to grows with each variable.
type scope struct {
	compiler  plugincel.Compiler
	variables *plugincel.CompositedCompiler
	params    bool
}

// newScope returns a scope for a policy; params and variables tell whether it has any.
func newScope(params, variables bool) (*scope, error) {
	if !variables {
		return &scope{compiler: withoutVariables(), params: params}, nil
	}
	composite, err := plugincel.NewCompositedCompiler(environments())
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	return &scope{compiler: composite, variables: composite, params: params}, nil
}

// options tells what expressions may use: the authorizer, and the types that mutations are made of.
func (s *scope) options(authorizer, patches bool) plugincel.OptionalVariableDeclarations {
	return plugincel.OptionalVariableDeclarations{HasParams: s.params, HasAuthorizer: authorizer, HasPatchTypes: patches}
}

func (s *scope) compile(p *field.Path, expression plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations) field.ErrorList {
	return celErrors(p, expression, s.compiler.CompileCELExpression(expression, options, environment.NewExpressions).Error)
}

// define compiles a variable, and lets the expressions after it refer to it.
func (s *scope) define(p *field.Path, v *admissionv1.Variable) field.ErrorList {
	var l check.List
	switch {
	case strings.TrimSpace(v.Name) == "":
		l.Required(p.Child("name"), "name is not specified")
	case !isIdentifier(v.Name):
		l.Invalid(p.Child("name"), v.Name, "must be a valid CEL identifier")
	}
	if strings.TrimSpace(v.Expression) == "" {
		l.Required(p.Child("expression"), "expression is not specified")
		return l.Errors()
	}
	variable := &validating.Variable{Name: v.Name, Expression: v.Expression}
	result := s.variables.CompileAndStoreVariable(variable, s.options(true, false), environment.NewExpressions)
	l.Add(celErrors(p.Child("expression"), variable, result.Error))
	return l.Errors()
}

func compileMatchCondition(p *field.Path, expression string, params bool) field.ErrorList {
	s := scope{compiler: withoutVariables(), params: params}
	return s.compile(p, &matchconditions.MatchCondition{Expression: expression}, s.options(true, false))
}

func celErrors(p *field.Path, expression plugincel.ExpressionAccessor, failure *cel.Error) field.ErrorList {
	var l check.List
	switch {
	case failure == nil:
	case failure.Type == cel.ErrorTypeRequired:
		l.Required(p, failure.Detail)
	case failure.Type == cel.ErrorTypeInvalid:
		l.Invalid(p, expression.GetExpression(), failure.Detail)
	case failure.Type == cel.ErrorTypeInternal:
		l.Internal(p, failure)
	default:
		l.Internal(p, errors.Join(errors.New("unsupported error type"), failure))
	}
	return l.Errors()
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// reserved words of CEL cannot name a variable.
var reserved = []string{
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
	"loop", "package", "namespace", "return", "var", "void", "while",
}

func isIdentifier(name string) bool {
	return identifier.MatchString(name) && !slices.Contains(reserved, name)
}
