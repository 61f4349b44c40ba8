// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// FuzzMerge merges into any file that a person may have, and takes out again what it has put in. The others' entries stay.
func FuzzMerge(f *testing.F) {
	const name = "hivemind"
	mine := admin(f, "authority", "https://127.0.0.1:6443")
	for _, text := range []string{
		"", theirs, string(mine), "{}", "null", "[]", "apiVersion: v1\nkind: Config\nclusters: [{name: hivemind}]\ncontexts: [{name: hivemind, context: null}]\nusers: [{name: hivemind}]\n",
		"apiVersion: v1\nkind: Config\nclusters: [null]\ncontexts: [{}]\n", `{"apiVersion":"v1","kind":"Config","preferences":{"colors":true},"extensions":[{"name":"x","extension":{"a":1}}]}`,
		"apiVersion: v1\nkind: Pod\n", "a: &a [x, x]\nclusters: [*a, *a]\n",
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := File{Path: filepath.Join(dir, "config"), UID: -1, GID: -1}
		if err := os.WriteFile(file.Path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := clientcmd.Load(text)
		if err != nil {
			if _, err := file.Merge(mine, name); err == nil {
				t.Errorf("%q cannot be read, and is merged into", text)
			}
			if after, err := os.ReadFile(file.Path); err != nil || string(after) != string(text) {
				t.Errorf("a file that cannot be read has been changed to %q, %v", after, err)
			}
			return
		}
		if _, err := file.Merge(mine, name); err != nil {
			return // such as for what it refers to
		}
		merged, err := clientcmd.LoadFromFile(file.Path)
		if err != nil || merged.Clusters[name] == nil || merged.AuthInfos[name] == nil || merged.Contexts[name] == nil {
			t.Fatalf("after the merge: %+v, %v", merged, err)
		}
		if err := file.Remove(mine, name); err != nil {
			t.Fatalf("take out what was put in: %v", err)
		}
		after, err := clientcmd.LoadFromFile(file.Path)
		if err != nil {
			t.Fatalf("after the removal: %v", err)
		}
		for _, entries := range [][2][]string{
			{slices.Sorted(maps.Keys(before.Clusters)), slices.Sorted(maps.Keys(after.Clusters))},
			{slices.Sorted(maps.Keys(before.AuthInfos)), slices.Sorted(maps.Keys(after.AuthInfos))},
			{slices.Sorted(maps.Keys(before.Contexts)), slices.Sorted(maps.Keys(after.Contexts))},
		} {
			others := slices.DeleteFunc(entries[0], func(entry string) bool { return entry == name })
			if !slices.Equal(others, entries[1]) {
				t.Errorf("others' entries were %q and are %q", others, entries[1])
			}
		}
	})
}
