// SPDX-License-Identifier: Apache-2.0

// Package envvars computes the environment of a container: literal values with $(VAR) references, fields of its pod,
// resources, ConfigMaps and Secrets, and the Services of its namespace. The cost is linear in the container's variables
// plus the Services of one namespace.
package envvars

import "strings"

// Expand replaces $(NAME) by what lookup knows of it, $$ by $, and leaves references to unknown names as they are written.
func Expand(text string, lookup func(string) (string, bool)) string {
	if !strings.ContainsRune(text, '$') {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				out.WriteString("$(")
				i++
				continue
			}
			name := text[i+2 : i+2+end]
			if value, ok := lookup(name); ok {
				out.WriteString(value)
			} else {
				out.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
