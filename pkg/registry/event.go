// SPDX-License-Identifier: Apache-2.0

package registry

import "k8s.io/apimachinery/pkg/runtime"

func addEventConversions(s *runtime.Scheme) error { return nil }
