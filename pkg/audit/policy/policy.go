// SPDX-License-Identifier: Apache-2.0

// Package policy reads audit policies (audit.k8s.io/v1) and says what is wrong with them so that a person can mend it. It is what the command
// line checks a configuration with, so it links nothing of the API server. Unlike kube-apiserver it takes no file that has a key which
// does not exist: what was meant to be left out of a log, and is not, shows too late.
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/apis/config"
)

// Load reads the policy in a file. The error names the file, and every field that is wrong with its value and what it should be.
func Load(path string) (*audit.Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit.policyFile: %w: write an audit policy there, or leave the key out to log nothing", err)
	}
	p, err := Parse(text)
	if err != nil {
		lines := strings.Split(err.Error(), "\n")
		for i := range lines {
			lines[i] = path + ": " + lines[i]
		}
		return nil, errors.New(strings.Join(lines, "\n"))
	}
	return p, nil
}

// Parse reads a policy from YAML or JSON. Everything that is wrong is reported at once, a line each.
func Parse(text []byte) (*audit.Policy, error) {
	document, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("not a YAML document: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	given := auditv1.Policy{}
	unknown, err := strictjson.UnmarshalStrict(document, &given)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
		return nil, fmt.Errorf("%s: a %s is not what belongs here (%s): mend it, or put it in quotes if it is meant as text", wrong.Field, wrong.Value, wrong.Type.Kind())
	}
	if err != nil {
		return nil, fmt.Errorf("not an audit policy: %w", err)
	}
	var errs []error
	for _, err := range unknown {
		errs = append(errs, explainUnknown(err))
	}
	if want := auditv1.SchemeGroupVersion.String(); given.APIVersion != want {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), given.APIVersion, "must be "+want))
	}
	if given.Kind != "Policy" {
		errs = append(errs, field.Invalid(field.NewPath("kind"), given.Kind, "must be Policy"))
	}
	p := &audit.Policy{}
	if err := auditv1.Convert_v1_Policy_To_audit_Policy(&given, p, nil); err != nil {
		return nil, err
	}
	if len(p.Rules) == 0 {
		errs = append(errs, field.Required(field.NewPath("rules"), "without rules nothing is logged: add one, such as {level: Metadata}"))
	}
	for _, err := range validation.ValidatePolicy(p) {
		if err.Type == field.ErrorTypeRequired && err.Detail == "" {
			err.Detail = "must be None, Metadata, Request or RequestResponse"
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// keys are all that a policy's parts can have.
var keys = []string{
	"apiVersion", "kind", "metadata", "omitManagedFields", "omitStages", "rules", "level", "users", "userGroups", "verbs", "resources", "namespaces",
	"nonResourceURLs", "group", "resourceNames",
}

// unknownField is how the decoder speaks of a key that it does not know.
var unknownField = regexp.MustCompile(`^unknown field "(.*)"$`)

func explainUnknown(err error) error {
	found := unknownField.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	path := found[1]
	name := path[strings.LastIndexByte(path, '.')+1:]
	if slices.Contains(keys, name) {
		return fmt.Errorf("%s: unknown key: it belongs elsewhere; see https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/", path)
	}
	return fmt.Errorf("%s: unknown key: did you mean %q?", path, config.Nearest(name, keys))
}
