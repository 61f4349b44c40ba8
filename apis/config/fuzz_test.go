// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

// FuzzParse reads any text as a configuration file. Defaulting twice is defaulting once, and validation leaves the configuration alone.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "{}", "null", "[]", "api: {port: 1001}\nnode: {kubeletPort: 1002, maxPods: 1003, name: n}\nstorage: {unsafeNoFsync: true}\n",
		"roles: [server, agent]\nnetwork: {podCIDR: 10.42.0.0/16, serviceCIDR: 'fd00::/108', mtu: -1, nodePortRange: 30000-1}\nnodes: 5\n",
		"registries: {mirrors: {'*': {endpoints: ['http://[::1']}}}\nsimulated: {cpu: 1e999, memory: -1Gi, pullDelay: 1h}\n",
		"a: &a [x, x]\nb: &b [*a, *a]\nroles: *b\n", "api:\n  port: 99999999999999999999\n", "log: {level: ''}\nlog: {level: debug}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &Config{}
		if err := Parse(text, c); err != nil {
			if err.Error() == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		SetDefaults(c)
		once := &Config{}
		copied, err := yaml.Marshal(c)
		if err == nil {
			err = yaml.Unmarshal(copied, once)
		}
		if err != nil {
			t.Fatalf("write and read it again: %v", err)
		}
		SetDefaults(c)
		if !apiequality.Semantic.DeepEqual(c, once) {
			t.Errorf("defaulting twice: %+v, once: %+v", c, once)
		}
		for _, err := range Validate(c) {
			if err.Error() == "" {
				t.Error("an error that says nothing")
			}
		}
		if !apiequality.Semantic.DeepEqual(c, once) {
			t.Errorf("validation changes it: %+v, before: %+v", c, once)
		}
	})
}
