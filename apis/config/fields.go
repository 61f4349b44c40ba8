// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Field is one thing that can be set, by three names: a key in the file, a flag and an environment variable.
type Field struct {
	Key   string // network.podCIDR
	Flag  string // network-pod-cidr
	Env   string // HIVEMIND_NETWORK_POD_CIDR
	Usage string
	Bool  bool // a flag that needs no value
	List  bool // a flag that may be given again: each is one item
	index []int
}

// EnvPrefix begins every environment variable that sets a field.
const EnvPrefix = "HIVEMIND_"

// Fields lists all that can be set, in the order of the types. The flag follows from the key, where the type does not name
// another one, and the variable from the flag.
func Fields() []Field {
	return fieldsOf(reflect.TypeFor[Config](), "", nil)
}

func fieldsOf(t reflect.Type, prefix string, index []int) []Field {
	var fields []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := append(slices.Clone(index), i)
		key := prefix + name
		if f.Type.Kind() == reflect.Struct {
			fields = append(fields, fieldsOf(f.Type, key+".", at)...)
			continue
		}
		flag := cmp.Or(f.Tag.Get("flag"), kebab(key))
		fields = append(fields, Field{
			Key: key, Flag: flag, Env: EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")),
			Usage: usage(key), Bool: f.Type.Kind() == reflect.Bool, List: f.Type == reflect.TypeFor[[]Registry](), index: at,
		})
	}
	return fields
}

// usage says what a key is for. A test holds that every key has one.
func usage(key string) string {
	switch key {
	case "dataDir":
		return "directory that holds all state; clusters on one machine differ in it"
	case "roles":
		return "what this machine does: server, agent or both"
	case "runtime":
		return "containerd runs containers; simulated brings pods to Running without any"
	case "nodes":
		return "how many nodes the simulated runtime has; 0 for none (default 1)"
	case "node.name":
		return "name of the Node object (default: the host name)"
	case "node.ip":
		return "address that this node is reached by (default: that of the default route's link)"
	case "node.labels":
		return "labels of the Node object, as key=value"
	case "node.kubeletPort":
		return "port of the node agent's API"
	case "node.maxPods":
		return "pods that this node takes"
	case "api.port":
		return "port of the Kubernetes API"
	case "api.extraSANs":
		return "further names and addresses for the API server's certificate"
	case "api.authenticationConfig":
		return "file of kind AuthenticationConfiguration: issuers of tokens to trust, such as OpenID Connect providers (default none)"
	case "network.podCIDR":
		return "addresses of pods; each node gets a /24 of it (default 10.42.0.0/16 or the next that is free; 10.64.0.0/10 where simulated)"
	case "network.serviceCIDR":
		return "addresses of services"
	case "network.clusterDNS":
		return "address of the cluster's DNS (default: the tenth of network.serviceCIDR)"
	case "network.clusterDomain":
		return "domain of the cluster's DNS names"
	case "network.nodePortRange":
		return "ports that services of type NodePort get"
	case "network.mtu":
		return "largest packet of pods, in bytes (default: that of the node's link)"
	case "network.upstreamResolvers":
		return "DNS servers for names outside of the cluster (default: those of /etc/resolv.conf)"
	case "registries":
		return "pull images of a registry from elsewhere, as HOST=ENDPOINT[,ENDPOINT][,exclusive]; may be given again"
	case "simulated.pullDelay":
		return "how long a simulated pull of an image takes, such as 1.5s (default none)"
	case "simulated.startDelay":
		return "how long a simulated container takes to start, such as 200ms (default none)"
	case "simulated.cpu":
		return "CPUs of each simulated node (default 32)"
	case "simulated.memory":
		return "memory of each simulated node (default 256Gi)"
	case "simulated.zones":
		return "how many zones simulated nodes are spread over, by the label topology.kubernetes.io/zone (default none)"
	case "simulated.registries":
		return "registries that simulated nodes can pull images from, by host, such as docker.io (default every one)"
	case "storage.quotaBytes":
		return "size of the storage at which writes are refused, in bytes"
	case "storage.unsafeNoFsync":
		return "do not wait for the disk: faster, and loses data in a power cut"
	case "encryption.resources":
		return "resources that are encrypted in the storage, as resource or resource.group; none switches encryption off (default secrets)"
	case "audit.policyFile":
		return "audit policy, which switches the audit log on (default none)"
	case "audit.logPath":
		return "file for audit events, or - for standard output (default logs/audit.log in the data directory)"
	case "audit.logMaxAge":
		return "days for which an audit log that was rotated is kept; 0 for ever (default 30)"
	case "audit.logMaxBackup":
		return "audit logs that were rotated and are kept; 0 for all (default 10)"
	case "audit.logMaxSize":
		return "size of the audit log at which it is rotated, in MB; 0 for never (default 100)"
	case "audit.logFormat":
		return "format of audit events: json or legacy (default json)"
	case "log.level":
		return "debug, info, warn or error"
	case "log.format":
		return "text or json"
	}
	return ""
}

// Lookup finds the field of a key.
func Lookup(key string) (Field, error) {
	fields := Fields()
	for _, f := range fields {
		if f.Key == key {
			return f, nil
		}
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.Key
	}
	return Field{}, fmt.Errorf("unknown key %q: did you mean %q?", key, Nearest(key, keys))
}

// Get returns the value of f in c as text: lists and maps separated by commas, registries by spaces.
func (f Field) Get(c *Config) string {
	switch v := f.in(c).Interface().(type) {
	case []Registry:
		return formatRegistries(v)
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		pairs := make([]string, 0, len(v))
		for key, value := range v {
			pairs = append(pairs, key+"="+value)
		}
		slices.Sort(pairs)
		return strings.Join(pairs, ",")
	case *int:
		if v == nil {
			return ""
		}
		return strconv.Itoa(*v)
	default:
		return fmt.Sprint(v)
	}
}

// Set parses value into f of c. The error says what was expected, and leaves naming the source to the caller.
func (f Field) Set(c *Config, value string) error {
	return setText(f.in(c), value)
}

// setText parses value into v, which is a field of Config or of one of its items.
func setText(v reflect.Value, value string) error {
	switch v.Interface().(type) {
	case []Registry:
		registries, err := parseRegistries(value)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(registries))
	case string:
		v.SetString(value)
	case []string:
		v.Set(reflect.ValueOf(splitList(value)))
	case map[string]string:
		pairs := map[string]string{}
		for _, pair := range splitList(value) {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("%q is not key=value", pair)
			}
			pairs[key] = value
		}
		v.Set(reflect.ValueOf(pairs))
	case bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		v.SetBool(b)
	case *int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", value)
		}
		v.Set(reflect.ValueOf(&n))
	default:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return fmt.Errorf("%q is not a whole number", value)
		}
		v.SetInt(n)
	}
	return nil
}

func (f Field) in(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(f.index)
}

func splitList(value string) []string {
	var list []string
	for _, item := range strings.Split(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// kebab turns network.podCIDR into network-pod-cidr and api.extraSANs into api-extra-sans: a hyphen goes before an upper-case
// letter that follows a lower-case one.
func kebab(key string) string {
	var b strings.Builder
	var last rune
	for _, r := range key {
		switch {
		case r == '.':
			b.WriteRune('-')
		case unicode.IsUpper(r) && unicode.IsLower(last):
			b.WriteRune('-')
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteRune(unicode.ToLower(r))
		}
		last = r
	}
	return b.String()
}
