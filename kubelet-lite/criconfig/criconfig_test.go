// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

func builder(t *testing.T) *Builder {
	return &Builder{RootDir: t.TempDir(), PodLogDir: t.TempDir(), Resolver: &podnet.Resolver{ClusterDomain: "cluster.local"}, MemoryCapacity: 8 << 30,
		SubPath: func(_ types.UID, _, _ string, _ int, from volume.Mounted, sub string) (string, error) {
			return from.HostPath + "/" + sub, nil
		}}
}

func TestNonRoot(t *testing.T) {
	yes, root, user := true, int64(0), int64(1000)
	for _, c := range []struct {
		name  string
		pod   *v1.PodSecurityContext
		own   *v1.SecurityContext
		image Image
		fails string
	}{
		{"not asked for", nil, nil, Image{UID: &root}, ""},
		{"image runs as root", &v1.PodSecurityContext{RunAsNonRoot: &yes}, nil, Image{UID: &root}, "container has runAsNonRoot and image will run as root"},
		{"image names a user", &v1.PodSecurityContext{RunAsNonRoot: &yes}, nil, Image{Username: "www"}, "container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root"},
		{"root by its own word", &v1.PodSecurityContext{RunAsNonRoot: &yes}, &v1.SecurityContext{RunAsUser: &root}, Image{UID: &user}, "container's runAsUser breaks non-root policy"},
		{"user of the pod", &v1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user}, nil, Image{UID: &root}, ""},
		{"user of the image", nil, &v1.SecurityContext{RunAsNonRoot: &yes}, Image{UID: &user}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &v1.Pod{Spec: v1.PodSpec{SecurityContext: c.pod}}
			_, err := builder(t).security(pod, &v1.Container{Name: "c", SecurityContext: c.own}, c.image)
			if (err == nil) != (c.fails == "") || (err != nil && !strings.HasPrefix(err.Error(), c.fails)) {
				t.Errorf("error is %v, want %q", err, c.fails)
			}
		})
	}
}

func TestSecurity(t *testing.T) {
	yes, no, group := true, false, int64(2000)
	user := int64(7)
	pod := &v1.Pod{Spec: v1.PodSpec{HostPID: true, SecurityContext: &v1.PodSecurityContext{FSGroup: &group, SupplementalGroups: []int64{3000},
		SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault}}}}
	c := &v1.Container{SecurityContext: &v1.SecurityContext{Privileged: &yes, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &v1.Capabilities{Add: []v1.Capability{"NET_ADMIN"}, Drop: []v1.Capability{"ALL"}}}}
	s, err := builder(t).security(pod, c, Image{UID: &user})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Privileged || !s.NoNewPrivs || !s.ReadonlyRootfs || s.RunAsUser.GetValue() != 7 || !slices.Equal(s.SupplementalGroups, []int64{2000, 3000}) ||
		!slices.Equal(s.Capabilities.AddCapabilities, []string{"NET_ADMIN"}) || !slices.Equal(s.Capabilities.DropCapabilities, []string{"ALL"}) ||
		s.Seccomp.ProfileType != runtimeapi.SecurityProfile_RuntimeDefault || s.NamespaceOptions.Pid != runtimeapi.NamespaceMode_NODE || len(s.MaskedPaths) == 0 {
		t.Errorf("security context is %v", s)
	}
	unmasked := v1.UnmaskedProcMount
	c.SecurityContext.ProcMount = &unmasked
	if s, err = builder(t).security(pod, c, Image{}); err != nil || len(s.MaskedPaths)+len(s.ReadonlyPaths) != 0 {
		t.Errorf("unmasked: %v, %v", s, err)
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		l := v1.ResourceList{}
		if cpu != "" {
			l[v1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[v1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for _, c := range []struct {
		name                         string
		requests, limits             v1.ResourceList
		shares, quota, memory, score int64
	}{
		{"nothing", nil, nil, 2, 0, 0, 1000},
		{"requests", list("500m", "1Gi"), nil, 512, 0, 0, 875},
		{"limits", list("1", "1Gi"), list("2", "2Gi"), 1024, 200000, 2 << 30, 875},
		{"guaranteed", list("1", "1Gi"), list("1", "1Gi"), 1024, 100000, 1 << 30, -997},
		{"tiny", list("1m", "1Mi"), list("1m", "2Mi"), 2, 1000, 2 << 20, 999},
		{"limit alone", nil, list("250m", ""), 256, 25000, 0, 999},
		{"half of the machine and more", list("1", "9Gi"), nil, 1024, 0, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Resources: v1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}}}}
			r := builder(t).Resources(pod, &pod.Spec.Containers[0])
			if r.CpuShares != c.shares || r.CpuQuota != c.quota || r.MemoryLimitInBytes != c.memory || r.OomScoreAdj != c.score {
				t.Errorf("resources are %v", r)
			}
		})
	}
}

func TestMounts(t *testing.T) {
	both := v1.MountPropagationBidirectional
	volumes := Volumes{Mounted: map[string]volume.Mounted{"data": {HostPath: "/v/data"}, "conf": {HostPath: "/v/conf", ReadOnly: true}}, Images: map[string]string{"model": "sha256:1"}}
	for _, c := range []struct {
		name  string
		mount v1.VolumeMount
		want  *runtimeapi.Mount
		fails string
	}{
		{"plain", v1.VolumeMount{Name: "data", MountPath: "/data"}, &runtimeapi.Mount{HostPath: "/v/data", ContainerPath: "/data"}, ""},
		{"volume is read-only", v1.VolumeMount{Name: "conf", MountPath: "conf"}, &runtimeapi.Mount{HostPath: "/v/conf", ContainerPath: "/conf", Readonly: true}, ""},
		{"propagation", v1.VolumeMount{Name: "data", MountPath: "/d", MountPropagation: &both}, &runtimeapi.Mount{HostPath: "/v/data", ContainerPath: "/d", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}, ""},
		{"subPath", v1.VolumeMount{Name: "data", MountPath: "/d", SubPath: "a/b"}, &runtimeapi.Mount{HostPath: "/v/data/a/b", ContainerPath: "/d"}, ""},
		{"subPathExpr", v1.VolumeMount{Name: "data", MountPath: "/d", SubPathExpr: "logs/$(POD)"}, &runtimeapi.Mount{HostPath: "/v/data/logs/web", ContainerPath: "/d"}, ""},
		{"subPathExpr without a value", v1.VolumeMount{Name: "data", MountPath: "/d", SubPathExpr: "$(NONE)"}, nil, `missing value for "NONE"`},
		{"image", v1.VolumeMount{Name: "model", MountPath: "/m", SubPath: "x"}, &runtimeapi.Mount{Image: &runtimeapi.ImageSpec{Image: "sha256:1"}, ImageSubPath: "x", ContainerPath: "/m", Readonly: true}, ""},
		{"no such volume", v1.VolumeMount{Name: "none", MountPath: "/n"}, nil, `cannot find volume "none" to mount into container "c"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &v1.Pod{}
			pod.UID, pod.Name = "uid", "web"
			got, err := builder(t).Mounts(pod, &v1.Container{Name: "c", VolumeMounts: []v1.VolumeMount{c.mount}}, nil, []envvars.Var{{Name: "POD", Value: "web"}}, volumes)
			if c.fails != "" {
				if err == nil || err.Error() != c.fails {
					t.Errorf("error is %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || len(got) != 1 || got[0].String() != c.want.String() {
				t.Errorf("mounts are %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestHostsFileIsMountedUnlessBrought(t *testing.T) {
	pod := &v1.Pod{}
	pod.UID, pod.Name = "uid", "web"
	b := builder(t)
	got, err := b.Mounts(pod, &v1.Container{}, []string{"10.0.0.1"}, nil, Volumes{})
	if err != nil || len(got) != 1 || got[0].ContainerPath != "/etc/hosts" {
		t.Errorf("mounts are %v, %v", got, err)
	}
	own := &v1.Container{VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/etc/hosts"}}}
	got, err = b.Mounts(pod, own, []string{"10.0.0.1"}, nil, Volumes{Mounted: map[string]volume.Mounted{"data": {HostPath: "/v"}}})
	if err != nil || len(got) != 1 || got[0].HostPath != "/v" {
		t.Errorf("mounts are %v, %v", got, err)
	}
}

func TestSandbox(t *testing.T) {
	share, no := true, false
	pod := &v1.Pod{Spec: v1.PodSpec{ShareProcessNamespace: &share, HostIPC: true, SecurityContext: &v1.PodSecurityContext{Sysctls: []v1.Sysctl{{Name: "net.core.somaxconn", Value: "1024"}}},
		Containers: []v1.Container{{Ports: []v1.ContainerPort{{ContainerPort: 80, HostPort: 8080, Protocol: v1.ProtocolUDP}, {ContainerPort: 81}}}}}}
	pod.Name, pod.Namespace, pod.UID, pod.Labels = "web", "shop", "uid", map[string]string{"tier": "front"}
	b := builder(t)
	b.CgroupParent = func(*v1.Pod) string { return "/group" }
	c, _, err := b.Sandbox(pod, 2)
	if err != nil {
		t.Fatal(err)
	}
	ns := c.Linux.SecurityContext.NamespaceOptions
	if c.Metadata.Attempt != 2 || c.Hostname != "web" || c.Labels["tier"] != "front" || c.Labels["io.kubernetes.pod.uid"] != "uid" || c.Linux.CgroupParent != "/group" ||
		c.Linux.Sysctls["net.core.somaxconn"] != "1024" || ns.Pid != runtimeapi.NamespaceMode_POD || ns.Ipc != runtimeapi.NamespaceMode_NODE || ns.Network != runtimeapi.NamespaceMode_POD ||
		len(c.PortMappings) != 1 || c.PortMappings[0].HostPort != 8080 || c.PortMappings[0].Protocol != runtimeapi.Protocol_UDP || pod.Labels["io.kubernetes.pod.uid"] != "" {
		t.Errorf("sandbox is %v", c)
	}
	pod.Spec.HostNetwork = true
	if c, _, err = b.Sandbox(pod, 0); err != nil || c.Hostname != "" || len(c.PortMappings) != 0 || c.Linux.SecurityContext.NamespaceOptions.Network != runtimeapi.NamespaceMode_NODE {
		t.Errorf("on the host's network: %v, %v", c, err)
	}
	pod.Spec.HostUsers = &no
	if _, _, err := b.Sandbox(pod, 0); err == nil {
		t.Error("a pod that asks for its own users was given the machine's")
	}
}
