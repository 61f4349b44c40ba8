// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// summary is the summary API, what metrics-server before 0.6 and `kubectl get --raw` read.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	got, err := s.Stats.Summary(r.Context())
	if err != nil {
		http.Error(w, fmt.Sprintf("Internal Error: %v", err), http.StatusInternalServerError)
		return
	}
	if only, err := strconv.ParseBool(r.URL.Query().Get("only_cpu_and_memory")); err == nil && only {
		got = cpuAndMemory(got)
	}
	writeJSON(w, got)
}

// resourceMetrics is what metrics-server reads for `kubectl top` and autoscaling (KEP-727).
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	got, err := s.Stats.Summary(r.Context())
	var m exposition
	failed := 0.0
	if err != nil {
		failed = 1
	} else {
		m.family("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds")
		m.cpu("node_cpu_usage_seconds_total", got.Node.CPU)
		m.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
		m.workingSet("node_memory_working_set_bytes", got.Node.Memory)
		m.family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds")
		eachContainer(got, func(p *stats.PodStats, c *stats.ContainerStats) {
			m.cpu("container_cpu_usage_seconds_total", c.CPU, "container", c.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name)
		})
		m.family("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes")
		eachContainer(got, func(p *stats.PodStats, c *stats.ContainerStats) {
			m.workingSet("container_memory_working_set_bytes", c.Memory, "container", c.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name)
		})
		m.family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds")
		eachContainer(got, func(p *stats.PodStats, c *stats.ContainerStats) {
			if !c.StartTime.IsZero() {
				m.sample("container_start_time_seconds", float64(c.StartTime.UnixMilli())/1e3, time.Time{}, "container", c.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name)
			}
		})
		m.family("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds")
		for i := range got.Pods {
			m.cpu("pod_cpu_usage_seconds_total", got.Pods[i].CPU, "namespace", got.Pods[i].PodRef.Namespace, "pod", got.Pods[i].PodRef.Name)
		}
		m.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
		for i := range got.Pods {
			m.workingSet("pod_memory_working_set_bytes", got.Pods[i].Memory, "namespace", got.Pods[i].PodRef.Namespace, "pod", got.Pods[i].PodRef.Name)
		}
	}
	m.family("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise")
	m.sample("resource_scrape_error", failed, time.Time{})
	m.serve(w)
}

// containerMetrics are those of cAdvisor's that dashboards are built on.
func (s *Server) containerMetrics(w http.ResponseWriter, r *http.Request) {
	got, err := s.Stats.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var m exposition
	perContainer := func(name, kind, help string, value func(*stats.ContainerStats) *uint64, scale float64) {
		m.family(name, kind, help)
		eachContainer(got, func(p *stats.PodStats, c *stats.ContainerStats) {
			if v := value(c); v != nil {
				m.sample(name, float64(*v)*scale, time.Time{}, "container", c.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name)
			}
		})
	}
	memory := func(pick func(*stats.MemoryStats) *uint64) func(*stats.ContainerStats) *uint64 {
		return func(c *stats.ContainerStats) *uint64 {
			if c.Memory == nil {
				return nil
			}
			return pick(c.Memory)
		}
	}
	perContainer("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", func(c *stats.ContainerStats) *uint64 {
		if c.CPU == nil {
			return nil
		}
		return c.CPU.UsageCoreNanoSeconds
	}, 1e-9)
	perContainer("container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed", memory(func(m *stats.MemoryStats) *uint64 { return m.UsageBytes }), 1)
	perContainer("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", memory(func(m *stats.MemoryStats) *uint64 { return m.WorkingSetBytes }), 1)
	perContainer("container_memory_rss", "gauge", "Size of RSS in bytes.", memory(func(m *stats.MemoryStats) *uint64 { return m.RSSBytes }), 1)
	perContainer("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.", func(c *stats.ContainerStats) *uint64 {
		if c.Rootfs == nil {
			return nil
		}
		return c.Rootfs.UsedBytes
	}, 1)
	perInterface := func(name, help string, value func(*stats.InterfaceStats) *uint64) {
		m.family(name, "counter", help)
		for i := range got.Pods {
			p := &got.Pods[i]
			if p.Network == nil {
				continue
			}
			if v := value(&p.Network.InterfaceStats); v != nil {
				m.sample(name, float64(*v), time.Time{}, "interface", p.Network.Name, "namespace", p.PodRef.Namespace, "pod", p.PodRef.Name)
			}
		}
	}
	perInterface("container_network_receive_bytes_total", "Cumulative count of bytes received", func(i *stats.InterfaceStats) *uint64 { return i.RxBytes })
	perInterface("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", func(i *stats.InterfaceStats) *uint64 { return i.RxErrors })
	perInterface("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", func(i *stats.InterfaceStats) *uint64 { return i.TxBytes })
	perInterface("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", func(i *stats.InterfaceStats) *uint64 { return i.TxErrors })
	m.serve(w)
}

func eachContainer(s *stats.Summary, do func(*stats.PodStats, *stats.ContainerStats)) {
	for i := range s.Pods {
		for j := range s.Pods[i].Containers {
			do(&s.Pods[i], &s.Pods[i].Containers[j])
		}
	}
}

// cpuAndMemory leaves all else out.
func cpuAndMemory(full *stats.Summary) *stats.Summary {
	out := &stats.Summary{Node: stats.NodeStats{NodeName: full.Node.NodeName, StartTime: full.Node.StartTime, CPU: full.Node.CPU, Memory: full.Node.Memory}, Pods: []stats.PodStats{}}
	for i := range full.Pods {
		p := &full.Pods[i]
		lean := stats.PodStats{PodRef: p.PodRef, StartTime: p.StartTime, CPU: p.CPU, Memory: p.Memory, Containers: []stats.ContainerStats{}}
		for j := range p.Containers {
			c := &p.Containers[j]
			lean.Containers = append(lean.Containers, stats.ContainerStats{Name: c.Name, StartTime: c.StartTime, CPU: c.CPU, Memory: c.Memory})
		}
		out.Pods = append(out.Pods, lean)
	}
	return out
}

// exposition writes Prometheus' text format: a registry would keep what is made up anew at each request.
type exposition struct{ strings.Builder }

func (m *exposition) family(name, kind, help string) {
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value; labels are names and values in turn. A zero time leaves the time to the reader.
func (m *exposition) sample(name string, value float64, at time.Time, labels ...string) {
	m.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		m.WriteByte(sep)
		m.WriteString(labels[i] + `="` + strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	m.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64))
	if !at.IsZero() {
		m.WriteString(" " + strconv.FormatInt(at.UnixMilli(), 10))
	}
	m.WriteByte('\n')
}

func (m *exposition) cpu(name string, c *stats.CPUStats, labels ...string) {
	if c != nil && c.UsageCoreNanoSeconds != nil {
		m.sample(name, float64(*c.UsageCoreNanoSeconds)/1e9, c.Time.Time, labels...)
	}
}

func (m *exposition) workingSet(name string, mem *stats.MemoryStats, labels ...string) {
	if mem != nil && mem.WorkingSetBytes != nil {
		m.sample(name, float64(*mem.WorkingSetBytes), mem.Time.Time, labels...)
	}
}

func (m *exposition) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	// A client that went away needs no answer.
	_, _ = w.Write([]byte(m.String()))
}
