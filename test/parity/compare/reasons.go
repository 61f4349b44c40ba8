// SPDX-License-Identifier: Apache-2.0

package compare

// Reasons are all differences that are known, that the versions do not explain, and that stay. One that nothing matches any more in a
// comparison of everything is told of, and `make parity` fails.
var Reasons = []Rule{
	{
		Reason: "kube-apiserver sends a third cell of IPAddresses, for which its table has no column; clients print none of it",
		Aspect: Object, Kind: is(` IPAddress$`), Path: is(`(^|\.)rows\[\d+\]\.cells\[\d+\]$`), Stock: is(`^"(<|\\u003c)(age|unknown)(>|\\u003e)"$`), Hivemind: nothing,
	},
	{
		Reason: "the object in a watch's bookmark is empty but for its version: in kube-apiserver's internal type some fields have a zero that apps/v1 leaves out",
		Aspect: Object, Kind: is(`^apps/v1 `), Path: is(`^items\[\d+\]\.object\.(spec\.replicas|metadata\.annotations\[deprecated\.daemonset\.template\.generation\])$`),
		Stock: is(`^(0|"0")$`), Hivemind: nothing,
	},
	{
		Reason: "how often a DaemonSet's template has changed stands in an annotation of apps/v1, and Hivemind stores apps/v1: metadata that is read by itself has it, " +
			"where kube-apiserver's internal type has it elsewhere",
		Aspect: Object, Kind: is(` DaemonSet$`), Path: is(`(^|\.)metadata\.annotations(\[deprecated\.daemonset\.template\.generation\])?$`), Stock: nothing,
		Hivemind: is(`^("\d+"|{"deprecated.daemonset.template.generation":"\d+"})$`),
	},
	{
		Reason: "when a ReplicationController changes, kube-apiserver warns of what its old template had and the new one has not, which is the wrong way round; Hivemind warns of the new one",
		Aspect: Warning, Kind: is(`^v1 ReplicationController$`), Stock: nothing, Hivemind: is(`volume`),
	},
	{
		Reason: "kube-apiserver's handler panics over an indexed Job that loses its completions; Hivemind tells what is missing",
		Aspect: Code, Kind: is(` Job$`), Stock: is(`^the handler ended without an answer$`), Hivemind: is(`^422 Invalid: .*spec\.completions: Required value: when completion mode is Indexed$`),
	},
	{
		Reason: "kube-apiserver fails with an internal error where an update gives two ports of a Service one node port; Hivemind tells which ports they are",
		Aspect: Code, Kind: is(`^v1 Service$`), Stock: is(`^500: duplicate nodePort: `), Hivemind: is(`^422 Invalid: .*spec\.ports\[1\]\.nodePort: Duplicate value: `),
	},
	{
		Reason: "CustomResourceDefinitions are stored as v1, where kube-apiserver stores the more compact v1beta1 for the sake of what is too big for etcd in v1",
		Aspect: Document, Kind: is(`^discovery$`), Path: is(`^resource\.storageVersionHash$`), Stock: is(`^"jfWCUB31mvA="$`), Hivemind: is(`^"M5uH\+AlWATY="$`),
	},
}
