// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Parse reads a configuration file into c, over what is there. Everything wrong with it is reported at once: keys that
// do not exist, with the nearest that does, and values of the wrong kind.
func Parse(text []byte, c *Config) error {
	tree := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &tree); err != nil {
		return err
	}
	fields := map[string]Field{}
	for _, f := range Fields() {
		fields[f.Key] = f
	}
	return errors.Join(parse(tree, "", fields, c)...)
}

func parse(tree map[string]any, prefix string, fields map[string]Field, c *Config) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		key, value := prefix+name, tree[name]
		f, isField := fields[key]
		section, isMap := value.(map[string]any)
		switch {
		case isField && f.List:
			errs = append(errs, readRegistries(value, key, &c.Registries)...)
		case isField:
			text, err := textOf(value)
			if err == nil {
				err = f.Set(c, text)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
		case !isSection(key, fields):
			errs = append(errs, fmt.Errorf("unknown key %q: did you mean %q?", key, Nearest(key, keysNear(prefix, fields))))
		case isMap:
			errs = append(errs, parse(section, key+".", fields, c)...)
		case value != nil:
			errs = append(errs, fmt.Errorf("%s: %q is not a section: put its keys below it, indented", key, fmt.Sprint(value)))
		}
	}
	return errs
}

// keysNear lists the keys and sections of the section prefix, then all other keys.
func keysNear(prefix string, fields map[string]Field) []string {
	var near, far []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		rest, inside := strings.CutPrefix(key, prefix)
		if section, _, nested := strings.Cut(rest, "."); inside && nested && !slices.Contains(near, prefix+section) {
			near = append(near, prefix+section)
		}
		if inside {
			near = append(near, key)
		} else {
			far = append(far, key)
		}
	}
	return append(near, far...)
}

func isSection(key string, fields map[string]Field) bool {
	for known := range fields {
		if strings.HasPrefix(known, key+".") {
			return true
		}
	}
	return false
}

// textOf writes a YAML value as Field.Set reads it.
func textOf(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			text, err := textOf(item)
			if err != nil {
				return "", err
			}
			items[i] = text
		}
		return strings.Join(items, ","), nil
	case map[string]any:
		pairs := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, err := textOf(v[key])
			if err != nil {
				return "", err
			}
			pairs = append(pairs, key+"="+text)
		}
		return strings.Join(pairs, ","), nil
	default:
		return "", fmt.Errorf("%v is of a kind that no key takes", v)
	}
}
