// SPDX-License-Identifier: Apache-2.0

package compare

import "regexp"

// Rule tells a difference that is there because Hivemind speaks of a newer Kubernetes than the stock server does. Every rule gives its
// reason; a pattern that is empty matches everything. A rule is as narrow as its reason: it must not explain what Hivemind does wrong.
type Rule struct {
	Reason   string
	Aspect   Aspect
	Path     *regexp.Regexp
	Stock    *regexp.Regexp
	Hivemind *regexp.Regexp
	// Unknown asks for a field that stock's own schema has not.
	Unknown bool
	// Added is what Hivemind's text has more than stock's: without it both must be the same.
	Added *regexp.Regexp
}

var (
	nothing   = regexp.MustCompile(`^$`)
	something = regexp.MustCompile(`.`)
	is        = regexp.MustCompile
)

// Rules are all differences that the versions 1.36 (stock) and 1.37 (Hivemind) explain. Each was found in the sources of both: apimachinery,
// apiserver, api and kube-openapi at the versions that the two are built from.
var Rules = []Rule{
	{
		Reason: "1.37 names the place in ownerReferences, and calls an empty field required",
		Aspect: Cause, Path: is(`^metadata\.ownerReferences`), Stock: something, Hivemind: is(`^at metadata\.ownerReferences\[\*\]`),
	},
	{
		Reason: "1.37 calls a bad or empty operation in managedFields unsupported or required",
		Aspect: Cause, Path: is(`^metadata\.managedFields\[\d+\]\.operation$`), Stock: is("must be `Apply` or `Update`"), Hivemind: is(`^(NotSupported|Required)`),
	},
	{
		Reason: "1.37 calls the empty type or status of a condition required",
		Aspect: Cause, Path: is(`conditions\[\d+\]\.(type|status)$`), Stock: is(`^(Invalid|NotSupported): .*""`), Hivemind: is(`^Required`),
	},
	{
		Reason: "1.37 calls the empty type or status of a condition required",
		Aspect: Cause, Path: is(`conditions\[\d+\]\.type$`), Stock: is(`^Invalid: .*"": name part must consist of`), Hivemind: nothing,
	},
	{
		Reason: "1.37 finds the condition, not its type, to be there twice",
		Aspect: Cause, Path: is(`conditions\[\d+\]\.type$`), Stock: is(`^Duplicate`), Hivemind: is(`^at .*conditions\[\*\]: Duplicate`),
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: Object, Path: is(`^spec\.preventPodSchedulingIfMissing$`), Stock: nothing, Hivemind: something,
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: Cause, Path: is(`^\.spec\.preventPodSchedulingIfMissing$`), Stock: is(`^FieldManagerConflict`), Hivemind: nothing,
	},
	{
		Reason: "1.37 says that a patch cannot be decoded, where 1.36 says that YAML cannot",
		Aspect: Message, Stock: is(`^error (strict )?decoding YAML`), Hivemind: is(`^error (strict )?decoding patch`),
	},
	{
		Reason: "1.37 refuses a patch that is no JSON before it looks at what kind of patch it is",
		Aspect: Message, Stock: is(`.`), Hivemind: is(`^invalid JSON patch$`),
	},
	{
		Reason: "1.37 can delete objects that cannot be decoded (AllowUnsafeMalformedObjectDeletion), and refuses to for those that can",
		Aspect: Code, Stock: is(`^200$`), Hivemind: is(`^409 Conflict: .*unsafe deletion is not allowed because the object is decodable`),
	},
	{
		Reason: "1.37 can delete objects that cannot be decoded (AllowUnsafeMalformedObjectDeletion), and refuses to for those that can",
		Aspect: Cause, Path: is(`^ignoreStoreReadErrorWithClusterBreakingPotential$`), Stock: nothing, Hivemind: is(`cannot be set together with \.`),
	},
	{
		Reason: "1.37 answers a resourceVersion that is none with 400 where 1.36 fails with 500",
		Aspect: Code, Stock: is(`^500: resourceVersion: Invalid value`), Hivemind: is(`^400 BadRequest: invalid resource version`),
	},

	{
		Reason: "1.37 writes \"precondition failed\" in small letters",
		Aspect: Message, Stock: is(`: Precondition failed: `), Hivemind: is(`: precondition failed: `),
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: Object, Stock: nothing, Hivemind: something, Unknown: true,
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: ManagedFields, Stock: nothing, Hivemind: something, Unknown: true,
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: Cause, Stock: nothing, Hivemind: is(`^FieldManagerConflict`), Unknown: true,
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: Cause, Path: is(`^(spec|status\.allocation)$`), Stock: is(`: field is immutable$`), Added: is(`,"(DerivedAttributes|SkipNodeOperations)":null`),
	},
	{
		Reason: "1.37 words the documentation of fields differently",
		Aspect: Document, Path: is(`\.description$`),
	},
	{
		Reason: "1.37 words the documentation of fields differently",
		Aspect: Object, Path: is(`^columnDefinitions\[\d+\]\.description$`),
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: Document, Path: is(`\.properties\.[A-Za-z0-9]+$`), Stock: nothing, Hivemind: something,
	},
	{
		Reason: "the OpenAPI generator of 1.37 gives elements of lists and maps no default of their own",
		Aspect: Document, Path: is(`\.(items|additionalProperties)\.default$`), Stock: is(`^({}|""|0|false)$`), Hivemind: nothing,
	},
	{
		Reason: "the OpenAPI generator of 1.37 gives elements of lists and maps no default of their own",
		Aspect: Document, Path: is(`\.(items|additionalProperties)\.allOf$`), Stock: something, Hivemind: nothing,
	},
	{
		Reason: "the OpenAPI generator of 1.37 gives elements of lists and maps no default of their own",
		Aspect: Document, Path: is(`\.(items|additionalProperties)\.\$ref$`), Stock: nothing, Hivemind: something,
	},
	{
		Reason: "which fields must be there has changed in the types of 1.37",
		Aspect: Document, Path: is(`\.required(\[\d+\])?$`),
	},
	{
		Reason: "the alpha fields on resource claims of a node's own resources have changed in 1.37",
		Aspect: Document, Path: is(`NodeAllocatableResourceClaimStatus\.|nodeAllocatableResourceClaimStatuses`),
	},
}

// Version returns the rule that explains the difference; nil if none does.
func (d Difference) Version() *Rule {
	matches := func(pattern *regexp.Regexp, text string) bool { return pattern == nil || pattern.MatchString(text) }
	for i, r := range Rules {
		same := r.Added == nil || r.Added.ReplaceAllString(d.Hivemind, "") == d.Stock
		if r.Aspect == d.Aspect && matches(r.Path, d.Path) && matches(r.Stock, d.Stock) && matches(r.Hivemind, d.Hivemind) && (d.Unknown || !r.Unknown) && same {
			return &Rules[i]
		}
	}
	return nil
}
