// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"maps"
	"math"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func revised(rs *appsv1.ReplicaSet, revision string) *appsv1.ReplicaSet {
	rs.Annotations = map[string]string{RevisionAnnotation: revision}
	return rs
}

func TestSplit(t *testing.T) {
	twin := set("v2", 30, 1, 1)
	twin.Name, twin.UID = "web-twin", "twin"
	for _, tc := range []struct {
		name   string
		sets   []*appsv1.ReplicaSet
		newest string
		old    string
	}{
		{"none", nil, "", ""},
		{"not made yet", []*appsv1.ReplicaSet{set("v1", 1, 1, 1), set("v0", 2, 1, 1)}, "", "web-v0 web-v1"},
		{"rolled back to", []*appsv1.ReplicaSet{set("v3", 1, 1, 1), set("v2", 9, 1, 1)}, "web-v2", "web-v3"},
		{"of two with the template the older", []*appsv1.ReplicaSet{set("v2", 1, 1, 1), twin}, "web-twin", "web-v2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := split(deploy(1, "1", "1"), tc.sets)
			newest := ""
			if r.newest != nil {
				newest = r.newest.Name
			}
			var old []string
			for _, rs := range r.old {
				old = append(old, rs.Name)
			}
			if newest != tc.newest || strings.Join(old, " ") != tc.old {
				t.Errorf("newest %q, old %q; want %q, %q", newest, old, tc.newest, tc.old)
			}
		})
	}
}

func TestSetRevision(t *testing.T) {
	long := strings.Repeat("1234567,", 249) + "1234567"
	for _, tc := range []struct {
		name    string
		had     map[string]string
		of      map[string]string
		next    int64
		want    map[string]string
		changed bool
	}{
		{"first", nil, nil, 1, map[string]string{RevisionAnnotation: "1"}, true},
		{"as it is", map[string]string{RevisionAnnotation: "2"}, nil, 2, map[string]string{RevisionAnnotation: "2"}, false},
		{"never lowered", map[string]string{RevisionAnnotation: "7"}, nil, 2, map[string]string{RevisionAnnotation: "7"}, false},
		{"rolled back to", map[string]string{RevisionAnnotation: "1"}, nil, 3, map[string]string{RevisionAnnotation: "3", RevisionHistoryAnnotation: "1"}, true},
		{"and again", map[string]string{RevisionAnnotation: "3", RevisionHistoryAnnotation: "1"}, nil, 5, map[string]string{RevisionAnnotation: "5", RevisionHistoryAnnotation: "1,3"}, true},
		{"a full history drops its oldest", map[string]string{RevisionAnnotation: "3", RevisionHistoryAnnotation: long}, nil, 5,
			map[string]string{RevisionAnnotation: "5", RevisionHistoryAnnotation: long[8:] + ",3"}, true},
		{"annotations are copied but for those with a meaning of their own", map[string]string{RevisionAnnotation: "1", "b": "old", "mine": "x"},
			map[string]string{"a": "1", "b": "2", RevisionAnnotation: "9", corev1.LastAppliedConfigAnnotation: "{}", DesiredReplicasAnnotation: "4"}, 1,
			map[string]string{RevisionAnnotation: "1", "a": "1", "b": "2", "mine": "x"}, true},
		{"what is no number is left alone", map[string]string{RevisionAnnotation: "x"}, nil, 4, map[string]string{RevisionAnnotation: "x"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, rs := deploy(1, "1", "1"), set("v2", 1, 1, 1)
			d.Annotations, rs.Annotations = tc.of, tc.had
			changed := setRevision(rs, d, tc.next)
			if changed != tc.changed || !maps.Equal(rs.Annotations, tc.want) {
				t.Errorf("changed %v, annotations %v; want %v, %v", changed, rs.Annotations, tc.changed, tc.want)
			}
		})
	}
}

func TestNewReplicaSet(t *testing.T) {
	d := deploy(10, "25%", "25%")
	d.Spec.MinReadySeconds = 7
	rs := split(d, []*appsv1.ReplicaSet{revised(set("v1", 9, 10, 10), "4")}).newReplicaSet()
	hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if rs.Name != "web-"+hash || rs.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash ||
		rs.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash || rs.Spec.Template.Labels["app"] != "web" {
		t.Errorf("name %s, labels %v, selector %v, template labels %v", rs.Name, rs.Labels, rs.Spec.Selector, rs.Spec.Template.Labels)
	}
	if *rs.Spec.Replicas != 3 || rs.Spec.MinReadySeconds != 7 || rs.OwnerReferences[0].Kind != "Deployment" || !*rs.OwnerReferences[0].Controller {
		t.Errorf("size %d, minReadySeconds %d, owners %v", *rs.Spec.Replicas, rs.Spec.MinReadySeconds, rs.OwnerReferences)
	}
	want := map[string]string{RevisionAnnotation: "5", DesiredReplicasAnnotation: "10", MaxReplicasAnnotation: "13"}
	if !maps.Equal(rs.Annotations, want) {
		t.Errorf("annotations %v, want %v", rs.Annotations, want)
	}
	if len(d.Spec.Template.Labels) != 1 || len(d.Spec.Selector.MatchLabels) != 1 {
		t.Error("the Deployment's own maps were changed")
	}
	if !sameTemplate(&d.Spec.Template, &rs.Spec.Template) {
		t.Error("the ReplicaSet is not recognized as that of the template")
	}
}

func TestTemplateHash(t *testing.T) {
	v1, v2 := template("v1"), template("v2")
	zero, one := int32(0), int32(1)
	hashes := map[string]bool{}
	for _, hash := range []string{templateHash(&v1, nil), templateHash(&v2, nil), templateHash(&v1, &zero), templateHash(&v1, &one)} {
		if hash == "" || len(hash) > 10 || strings.Trim(hash, "bcdfghjklmnpqrstvwxz2456789") != "" {
			t.Errorf("hash %q", hash)
		}
		hashes[hash] = true
	}
	again := template("v1")
	if len(hashes) != 4 || templateHash(&v1, nil) != templateHash(&again, nil) {
		t.Errorf("hashes %v: want four, and the same for the same", hashes)
	}
	if name := setName(strings.Repeat("n", 253), "abc"); len(name) != 253 || !strings.HasSuffix(name, "n-abc") {
		t.Errorf("long name became %q", name)
	}
}

func TestExpired(t *testing.T) {
	busy := revised(set("v0", 50, 0, 0), "1")
	busy.Status.Replicas = 1
	unseen := revised(set("v1", 40, 0, 0), "2")
	unseen.Generation = 2
	sets := []*appsv1.ReplicaSet{revised(set("v9", 1, 0, 0), "9"), revised(set("v8", 99, 0, 0), "8"), revised(set("v7", 3, 0, 0), "7"), busy, unseen, set("v2", 1, 1, 1)}
	for _, tc := range []struct {
		limit int32
		want  string
	}{
		{10, ""}, {5, ""}, {4, ""}, {2, "web-v7"}, {1, "web-v7 web-v8"}, {0, "web-v7 web-v8 web-v9"}, {math.MaxInt32, ""},
	} {
		d := deploy(1, "1", "1")
		d.Spec.RevisionHistoryLimit = &tc.limit
		var names []string
		for _, rs := range split(d, sets).expired() {
			names = append(names, rs.Name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("limit %d: got %q, want %q", tc.limit, got, tc.want)
		}
	}
}
