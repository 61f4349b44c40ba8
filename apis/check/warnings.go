// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// Warnings collects what is said to whoever writes an object that is valid and yet not what they will want. Texts are those of
// kube-apiserver. Its zero value is ready to use, and costs nothing while there is nothing to say.
type Warnings struct {
	texts []string
}

// Texts returns what was collected; nil when nothing was.
func (w *Warnings) Texts() []string { return w.texts }

// Add appends warnings that another rule returned.
func (w *Warnings) Add(texts ...string) { w.texts = append(w.texts, texts...) }

// At warns of the field at p.
func (w *Warnings) At(p *field.Path, format string, args ...any) {
	w.texts = append(w.texts, p.String()+": "+fmt.Sprintf(format, args...))
}

// IP warns of an address that is not written as it should be. One that is none is the validation's business.
func (w *Warnings) IP(p *field.Path, value string) {
	if netutils.ParseIPSloppy(value) != nil {
		w.Add(validation.GetWarningsForIP(p, value)...)
	}
}

// CIDR warns of a range of addresses that is not written as it should be.
func (w *Warnings) CIDR(p *field.Path, value string) {
	if _, _, err := netutils.ParseCIDRSloppy(value); err == nil {
		w.Add(validation.GetWarningsForCIDR(p, value)...)
	}
}
