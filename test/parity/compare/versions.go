// SPDX-License-Identifier: Apache-2.0

package compare

import "strings"

// Rules are all differences that the versions 1.36 (stock) and 1.37 (Hivemind) explain. Each was found in the sources of both: apimachinery,
// apiserver, api and kube-openapi at the versions that the two are built from.
var Rules = []Rule{
	{
		Reason: "1.37 names the place in ownerReferences, and calls an empty field required",
		Aspect: Cause, Path: is(`^metadata\.ownerReferences`), Stock: something, Hivemind: is(`^at metadata\.ownerReferences\[\*\]`),
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
		Aspect: Cause, Path: is(`^(spec|status\.allocation)$`), Stock: is(`: field is immutable$`), Added: is(`,"(DerivedAttributes|SkipNodeOperations)":null`),
	},
	{
		Reason: "1.37 words the documentation of fields differently",
		Aspect: Document, Path: is(`\.description$`),
	},
	{
		Reason: "1.37 words the documentation of fields differently",
		Aspect: Object, Path: is(`(^|\.)columnDefinitions\[\d+\]\.description$`),
	},
	{
		Reason: "fields that 1.37 has and 1.36 has not",
		Aspect: Document, Path: is(`\.properties\.[A-Za-z0-9]+$`), Stock: nothing, Hivemind: something,
	},
	{
		Reason: "1.37 stores MutatingAdmissionPolicies and their bindings as v1, 1.36 as v1beta1",
		Aspect: Document, Path: is(`^resource\.storageVersionHash$`), Stock: is(`^"(LYmCf\+UMVdg=|90V5FRZZ3Zg=)"$`), Hivemind: is(`^"(mHCkTKpUTrE=|ZKgZT1uTmZ0=)"$`),
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
	{
		Reason: "1.37 prints more columns of CustomResourceDefinitions",
		Aspect: Object, Kind: is(` CustomResourceDefinition$`), Path: is(`^columnDefinitions\[\d+\]$`), Stock: nothing, Hivemind: is(`"name":"(Established|Group|Kind|Scope|ShortNames|Versions)"`),
	},
	{
		Reason: "1.37 prints more columns of CustomResourceDefinitions",
		Aspect: Object, Kind: is(` CustomResourceDefinition$`), Path: is(`^rows\[\d+\]\.cells\[\d+\]$`), Stock: nothing,
	},
	{
		Reason: "1.37 keeps who managed the fields where the new object's cannot be told, 1.36 drops it",
		Aspect: ManagedFields, Path: nothing, Stock: is(`^none at all$`),
	},
	{
		Reason: "1.37 can delete objects that cannot be decoded (AllowUnsafeMalformedObjectDeletion), and refuses to for those that can",
		Aspect: Cause, Kind: is(`^v1 Namespace$`), Path: nothing, Stock: nothing, Hivemind: is(`: no unsafe deleter provided, can not honor ignoreStoreReadErrorWithClusterBreakingPotential$`),
	},
	{
		Reason: "CSINodes of 1.37 have a status",
		Aspect: Cause, Kind: is(` CSINode$`), Path: is(`^patch$`), Added: is(`,\\"status\\":{}`),
	},
	{
		Reason: "CSINodes of 1.37 have a status",
		Aspect: Warning, Kind: is(` CSINode$`), Stock: nothing, Hivemind: is(`^unknown field "status"$`),
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: Cause, Kind: is(` CSIDriver$`), Path: is(`^patch$`), Added: is(`,\\"preventPodSchedulingIfMissing\\":true`),
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: ManagedFields, Kind: is(` CSIDriver$`), Path: is(`^spec\.preventPodSchedulingIfMissing$`), Stock: something, Hivemind: nothing,
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: Code, Kind: is(` CSIDriver$`), Stock: is(`^409 Conflict: Apply failed with 1 conflict: conflict with "parity" using storage\.k8s\.io/v1: \.spec\.preventPodSchedulingIfMissing$`),
	},
	{
		Reason: "1.36 drops preventPodSchedulingIfMissing of CSIDrivers, which is beta in 1.37",
		Aspect: Object, Kind: is(` CSIDriver$`), Path: is(`^metadata\.generation$`), Stock: nothing, Hivemind: is(`^1$`),
	},
	{
		Reason: "StatefulSets of 1.37 can update by Recreate",
		Aspect: Document, Path: is(`^apps\.v1\.StatefulSetUpdateStrategy\.properties\.type\.enum`), Stock: nothing, Hivemind: is(`^"Recreate"$`),
	},
	{
		Reason: "1.37 words the documentation of fields differently",
		Aspect: Document, Path: is(`^networking\.v1\.IngressRule\.properties\.http\.(\$ref|allOf)$`), // one that has a description stands in allOf
	},
	{
		Reason: "the alpha fields on resource claims of a node's own resources have changed in 1.37",
		Aspect: Document, Path: is(`^resource\.v1\.Device\.properties\.nodeAllocatableResourceMappings$`), Stock: something, Hivemind: nothing,
	},
	{
		Reason: "what an error shows of an object has the fields that 1.37 has and 1.36 has not",
		Aspect: Cause, Stock: is(`^Invalid: Invalid value: {.*: field is immutable$`), Added: newFields,
	},
	{
		Reason: "what an error shows of an object has the fields that 1.37 has and 1.36 has not",
		Aspect: Cause, Stock: is(`(?s)^Forbidden: .*@@ -`), Lines: true, Added: newFields,
	},
}

// newFields are those of pods that 1.37 has and 1.36 has not, where nothing is set: in an object in one line, and in one with a line a field.
var newFields = is(strings.ReplaceAll(`,(\n[-+ ] *)?NEW: ?null|\n[-+ ] *NEW: null,|NEW:null,`, "NEW", `"(BindMountOptions|DefaultUser|EvictionResponders|Mode|Protocol|User)"`))
