// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"
)

func TestFlowControlConfiguration(t *testing.T) {
	c := newCluster(t)
	ctx, api := t.Context(), c.FlowcontrolV1()
	for _, want := range slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas) {
		eventually(t, "FlowSchema "+want.Name, func() (bool, error) {
			is, err := api.FlowSchemas().Get(ctx, want.Name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			conditions := is.Status.Conditions
			return is.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] == "true" && len(conditions) == 1 && conditions[0].Status == flowcontrolv1.ConditionFalse,
				fmt.Errorf("it has %v, %v", is.Annotations, conditions)
		})
	}
	for _, want := range slices.Concat(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations) {
		if is, err := api.PriorityLevelConfigurations().Get(ctx, want.Name, metav1.GetOptions{}); err != nil || is.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("PriorityLevelConfiguration %s: %v, %v", want.Name, is.Annotations, err)
		}
	}
	dump, err := c.CoreV1().RESTClient().Get().RequestURI("/debug/api_priority_and_fairness/dump_priority_levels").DoRaw(ctx)
	if err != nil || !strings.Contains(string(dump), "workload-high,") {
		t.Errorf("dump: %s, %v", dump, err)
	}
}

// caller sends requests as a user, without a socket.
type caller struct {
	transport http.RoundTripper
	name      string
}

// reply is what a request got.
type reply struct {
	code   int
	header http.Header
	text   string
}

// create begins to make a ConfigMap. The server works on it, or has it wait, until finish has been closed.
func (u caller) create(ctx context.Context, name string, finish <-chan struct{}) (reply, error) {
	body, rest := io.Pipe()
	defer body.Close()
	go func() {
		select {
		case <-finish:
			_, _ = io.WriteString(rest, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`"}}`)
		case <-ctx.Done():
		}
		rest.Close()
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://loopback/api/v1/namespaces/default/configmaps", body)
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	return u.send(request)
}

func (u caller) get(ctx context.Context, path string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://loopback"+path, nil)
	if err != nil {
		return reply{}, err
	}
	return u.send(request)
}

func (u caller) send(request *http.Request) (reply, error) {
	response, err := u.transport.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text)}, err
}

// TestFlood has one user send more than the server takes, none of which gets finished, while others are answered.
func TestFlood(t *testing.T) {
	c := newCluster(t)
	level, flows := c.narrowLevel(t, "noisy", "quiet")
	as := func(name string, groups ...string) caller {
		return caller{c.server.loopback.Config(&user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}).Transport, name}
	}
	noisy, quiet := as("noisy"), as("quiet")

	// The flood: some are worked on, some wait, and when there is no place left, the others are refused.
	const flood = 100
	finish := make(chan struct{})
	answers := make(chan reply, flood)
	var running sync.WaitGroup
	defer running.Wait()
	defer func() {
		select {
		case <-finish:
		default:
			close(finish)
		}
	}()
	for i := range flood {
		running.Go(func() {
			a, err := noisy.create(t.Context(), fmt.Sprintf("noisy-%d", i), finish)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		})
	}
	refused := <-answers // the first answer: nothing else can have one
	if refused.code != http.StatusTooManyRequests || refused.text != "Too many requests, please try again later.\n" || refused.header.Get("Retry-After") != "1" {
		t.Errorf("refused with %d %q, %v", refused.code, refused.text, refused.header)
	}
	if got := refused.header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID); got != string(level.UID) {
		t.Errorf("the answer names level %q, want %q", got, level.UID)
	}
	if got := refused.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); got != string(flows.UID) {
		t.Errorf("the answer names flow schema %q, want %q", got, flows.UID)
	}

	// Who is of another level does not notice: the administrator, the scheduler, a controller, a node.
	for _, who := range []caller{
		as("admin", user.SystemPrivilegedGroup), as(user.KubeScheduler), as("system:node:n", user.NodesGroup),
		as("system:serviceaccount:kube-system:job-controller", "system:serviceaccounts", "system:serviceaccounts:kube-system"), as("anybody"),
	} {
		if a, err := who.get(t.Context(), "/version"); err != nil || a.code != http.StatusOK {
			t.Errorf("%s: %d %s, %v", who.name, a.code, a.text, err)
		}
	}
	if _, err := c.AppsV1().Deployments("default").Create(t.Context(), newDeployment("d", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "controllers to make pods", func() (bool, error) {
		pods, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err == nil && len(pods.Items) == 3, err
	})

	// Who is of the same level waits for a seat, in a queue of its own: before most of those that came earlier.
	served := make(chan reply, 1)
	running.Go(func() {
		a, err := quiet.get(t.Context(), "/version")
		if err != nil {
			t.Error(err)
		}
		served <- a
	})
	eventually(t, "the other user to wait", func() (bool, error) {
		dump, err := c.CoreV1().RESTClient().Get().RequestURI("/debug/api_priority_and_fairness/dump_requests").DoRaw(t.Context())
		return strings.Contains(string(dump), " quiet,"), err
	})
	close(finish)
	select {
	case a := <-served:
		if a.code != http.StatusOK {
			t.Errorf("the other user got %d %s", a.code, a.text)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the other user is not answered")
	}
	running.Wait()
	codes := map[int]int{refused.code: 1}
	for range flood - 1 {
		codes[(<-answers).code]++
	}
	if codes[http.StatusTooManyRequests] < flood/2 || codes[http.StatusCreated] == 0 || codes[http.StatusTooManyRequests]+codes[http.StatusCreated] != flood {
		t.Errorf("the flood was answered %v", codes)
	}
}

// narrowLevel makes a level of few seats and short queues for these users, who may do everything, and waits until it acts.
func (c *cluster) narrowLevel(t *testing.T, users ...string) (*flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.FlowSchema) {
	t.Helper()
	ctx := t.Context()
	level, err := c.FlowcontrolV1().PriorityLevelConfigurations().Create(ctx, &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "narrow"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: ptr.To[int32](1), BorrowingLimitPercent: ptr.To[int32](0),
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue,
				Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 4, QueueLengthLimit: 4}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rule := flowcontrolv1.PolicyRulesWithSubjects{
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "crowd"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}
	for _, name := range users {
		rule.Subjects = append(rule.Subjects, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}})
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name})
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	flows, err := c.FlowcontrolV1().FlowSchemas().Create(ctx, &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: "crowd"},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level.Name}, MatchingPrecedence: 500,
			DistinguisherMethod: &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules:               []flowcontrolv1.PolicyRulesWithSubjects{rule},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := caller{c.server.loopback.Config(&user.DefaultInfo{Name: users[0], Groups: []string{user.AllAuthenticated}}).Transport, users[0]}
	eventually(t, "the level to act", func() (bool, error) {
		a, err := first.get(ctx, "/api/v1/namespaces")
		return err == nil && a.code == http.StatusOK && a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) == string(flows.UID), err
	})
	return level, flows
}
