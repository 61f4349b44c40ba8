// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
)

// Signature is what a difference has in common with others of the same cause: the pattern of its path and the form of both answers. Where
// in which list it was, in which template, and which value was tried, it leaves out.
type Signature struct {
	Aspect   Aspect `json:"aspect"`
	Path     string `json:"path"`
	Stock    string `json:"stock"`
	Hivemind string `json:"hivemind"`
}

var (
	index    = regexp.MustCompile(`\[\d+\]`)
	mapEntry = regexp.MustCompile(`\b(labels|annotations|matchLabels|nodeSelector|limits|requests|hard|used|capacity|allocatable|data|binaryData|stringData|parameters|podFixed|extra)(\[[^\]]*\]|\.[^.\[ ]+)`)
	template = regexp.MustCompile(`^(spec\.)?(jobTemplate\.spec\.)?template\.`)
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	braced   = regexp.MustCompile(`\{.*\}`)
	digits   = regexp.MustCompile(`\b\d+\b`)
	located  = regexp.MustCompile(`\b(spec|metadata|template|status)(\.[A-Za-z]+|\[[^\]]*\])+`)
)

// Signature is the difference's.
func (d Difference) Signature() Signature {
	path := pattern(d.Path)
	// Some errors end in what two objects differ in, line by line.
	s, _, ok1 := strings.Cut(d.Stock, "@@ -")
	h, _, ok2 := strings.Cut(d.Hivemind, "@@ -")
	if ok1 && ok2 && s == h {
		return Signature{d.Aspect, path, form(d.Aspect, s) + "@@ …", "the same, with the lines of other Go types"}
	}
	stock, hivemind := form(d.Aspect, d.Stock), form(d.Aspect, d.Hivemind)
	if stock == hivemind {
		stock, hivemind = apart(d.Stock, d.Hivemind) // the particular is what differs
	}
	return Signature{d.Aspect, path, stock, hivemind}
}

// formLimit is how long a form is at most.
const formLimit = 300

// around is how much of what is the same stands beside what is not.
const around = 24

// apart cuts from two texts what they have in common before and behind where they differ, but for some characters.
func apart(a, b string) (string, string) {
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	cut := func(text string) string {
		from, to := max(0, start-around), min(len(text), len(text)-end+around)
		to = min(to, from+formLimit)
		return digits.ReplaceAllString("…"+strings.ToValidUTF8(text[from:to], "")+"…", "N")
	}
	return cut(a), cut(b)
}

// ID is a short name of the signature.
func (s Signature) ID() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s|%s|%s|%s", s.Aspect, s.Path, s.Stock, s.Hivemind)
	return fmt.Sprintf("%08x", h.Sum32())
}

func pattern(path string) string {
	path = index.ReplaceAllString(path, "[*]")
	path = mapEntry.ReplaceAllString(path, "$1[*]")
	return template.ReplaceAllString(path, "<template>.")
}

// form is an answer without what was particular to one request.
func form(aspect Aspect, text string) string {
	switch aspect {
	case ManagedFields, Document:
		return text
	case Code:
		status, said, _ := strings.Cut(text, ": ")
		if said == "" {
			return status
		}
		return status + ": " + form(Message, said)
	case Object:
		// Short values tell the cause of a wrong default, long ones only that there is something.
		if len(text) > 60 {
			return text[:1] + "…"
		}
		return text
	}
	text = braced.ReplaceAllString(text, "{…}")
	text = quoted.ReplaceAllString(text, `"…"`)
	text = located.ReplaceAllStringFunc(text, func(string) string { return "<path>" })
	for _, w := range wordings {
		text = w.pattern.ReplaceAllString(text, w.with)
	}
	text = digits.ReplaceAllString(text, "N")
	if i := strings.Index(text, "parity-"); i >= 0 {
		text = parityName.ReplaceAllString(text, "<name>")
	}
	if len(text) > formLimit {
		text = strings.ToValidUTF8(text[:formLimit], "") + "…"
	}
	return text
}

// wordings are where errors name what they are about.
var wordings = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(fulfilled on )\S+`), "$1<resource>"},
	{regexp.MustCompile(`^(\d+ \w+: )?[A-Za-z.0-9]+ ("…" (?:is invalid|not found|already exists))`), "$1<resource> $2"},
	{regexp.MustCompile(`\(\S+ based on URL\)`), "(<name> based on URL)"},
	{regexp.MustCompile(`\([^()]*/[^()]*; [^()]*, Kind=\w+\)`), "(<object>)"},
}

var parityName = regexp.MustCompile(`\bparity-[a-z0-9-]+`)
