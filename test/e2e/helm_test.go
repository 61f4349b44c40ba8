// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// helmVerbs takes the chart through its life.
func (s *suite) helmVerbs(t *testing.T) {
	helm := func(args ...string) string {
		t.Helper()
		return must(t)(s.Helm(t.Context(), append(args, "--namespace", "charts")...))
	}
	web := func() string {
		t.Helper()
		return "http://" + s.kubectl(t, "get", "service", "demo-web", "-n", "charts", "-o", "jsonpath={.spec.clusterIP}")
	}
	see(t, helm("install", "demo", "charts/demo", "--create-namespace", "--wait", "--timeout", "3m"), "STATUS: deployed")
	see(t, get(t, web()+"/"), "Guestbook of a chart", "revision 1 is here", "version 1")
	see(t, helm("test", "demo", "--timeout", "2m"), "Phase:          Succeeded")

	helm("upgrade", "demo", "charts/demo", "--set-string", "image.tag=2", "--set", "title=Better,replicas=1", "--wait", "--timeout", "3m")
	s.kubectl(t, "rollout", "status", "deploy/demo-web", "-n", "charts", "--timeout=60s")
	eventually(t, "the upgrade", 30*time.Second, func() error {
		return shows(web()+"/", "Better", "revision 2 is here", "version 2")
	})
	helm("rollback", "demo", "1", "--wait", "--timeout", "3m")
	s.kubectl(t, "rollout", "status", "deploy/demo-web", "-n", "charts", "--timeout=60s")
	eventually(t, "the rollback", 30*time.Second, func() error {
		return shows(web()+"/", "Guestbook of a chart", "version 1")
	})
	see(t, helm("history", "demo"), "Rollback to 1", "superseded")
	see(t, helm("uninstall", "demo", "--wait"), "uninstalled")
	s.kubectl(t, "delete", "namespace", "charts", "--timeout=60s")
	eventually(t, "nothing left of it", 30*time.Second, func() error {
		if out := s.kubectl(t, "get", "pods,services,deployments", "-A", "-o", "name"); strings.Contains(out, "demo") {
			return fmt.Errorf("there is still\n%s", out)
		}
		return nil
	})
}
