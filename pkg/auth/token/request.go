// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	authenticationjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
)

const (
	defaultExpiration = 3600
	minExpiration     = 10 * 60
	maxExpiration     = 1 << 32
	// extendable is the lifetime, in seconds, that the token volume of every Pod asks for. Clients of the past read the
	// file once, so such tokens live a year, and their use after that time is noted in the audit log.
	extendable       = 60*60 + 7
	extendedLifetime = 365 * 24 * time.Hour
)

// Requests answers TokenRequests, the subresource token of ServiceAccounts.
type Requests struct {
	Issuer *Issuer
	// Audiences are those of the API server: what a request without audiences gets.
	Audiences authenticator.Audiences
	// Get reads live objects.
	Get Getters
}

// Create answers a request on the ServiceAccount namespace/name. admit is validating admission and may be nil. Errors
// are API statuses.
func (r *Requests) Create(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest, admit func(*authenticationv1.TokenRequest) error) (*authenticationv1.TokenRequest, error) {
	account, err := r.Get.ServiceAccount(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	request = request.DeepCopy()
	if err := r.complete(request, account); err != nil {
		return nil, err
	}
	if admit != nil {
		if err := admit(request.DeepCopy()); err != nil {
			return nil, err
		}
	}
	subject, err := r.subject(ctx, account, request.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}

	// Taken before the token is made, so that the expiry told is never later than the one in it.
	now := r.Issuer.Now()
	expiration := time.Duration(*request.Spec.ExpirationSeconds) * time.Second
	lifetime := Lifetime{Expiry: expiration}
	if subject.Pod != nil && *request.Spec.ExpirationSeconds == extendable && r.forServer(request.Spec.Audiences) {
		lifetime = Lifetime{Expiry: extendedLifetime, WarnAfter: expiration}
	}
	token, id, err := r.Issuer.Issue(subject, request.Spec.Audiences, lifetime)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	audit.AddAuditAnnotation(ctx, serviceaccount.IssuedCredentialIDAuditAnnotationKey, authenticationjwt.CredentialIDForJTI(id))
	request.CreationTimestamp = metav1.NewTime(now)
	request.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(now.Add(expiration))}
	return request, nil
}

// complete checks the request against the account and fills in what it leaves open.
func (r *Requests) complete(request *authenticationv1.TokenRequest, account *corev1.ServiceAccount) error {
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	metadata := field.NewPath("metadata")
	if request.Name != "" && request.Name != account.Name {
		return apierrors.NewInvalid(kind, account.Name, field.ErrorList{
			field.Invalid(metadata.Child("name"), request.Name, "must match the service account name if specified")})
	}
	if request.Namespace != "" && request.Namespace != account.Namespace {
		return apierrors.NewInvalid(kind, account.Name, field.ErrorList{
			field.Invalid(metadata.Child("namespace"), request.Namespace, "must match the service account namespace if specified")})
	}
	if request.UID != "" && request.UID != account.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, account.Name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", request.UID, account.UID))
	}
	request.Name, request.Namespace, request.UID = account.Name, account.Namespace, account.UID
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = r.Audiences
	}
	if request.Spec.ExpirationSeconds == nil {
		request.Spec.ExpirationSeconds = new(int64(defaultExpiration))
	}
	seconds := field.NewPath("spec", "expirationSeconds")
	switch s := *request.Spec.ExpirationSeconds; {
	case s < minExpiration:
		return apierrors.NewInvalid(kind, "", field.ErrorList{field.Invalid(seconds, s, "may not specify a duration less than 10 minutes")})
	case s > maxExpiration:
		return apierrors.NewInvalid(kind, "", field.ErrorList{field.Invalid(seconds, s, "may not specify a duration larger than 2^32 seconds")})
	}
	return nil
}

// subject reads the object that the token is to be bound to.
func (r *Requests) subject(ctx context.Context, account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (Subject, error) {
	s := Subject{ServiceAccount: account}
	if ref == nil {
		return s, nil
	}
	var uid types.UID
	var err error
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		if s.Pod, err = r.Get.Pod(ctx, account.Namespace, ref.Name); err != nil {
			return s, err
		}
		if account.Name != s.Pod.Spec.ServiceAccountName {
			return s, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		uid = s.Pod.UID
		if s.Node, err = r.nodeOf(ctx, s.Pod); err != nil {
			return s, err
		}
	case schema.GroupKind{Kind: "Node"}:
		if s.Node, err = r.Get.Node(ctx, ref.Name); err != nil {
			return s, err
		}
		uid = s.Node.UID
	case schema.GroupKind{Kind: "Secret"}:
		if s.Secret, err = r.Get.Secret(ctx, account.Namespace, ref.Name); err != nil {
			return s, err
		}
		uid = s.Secret.UID
	default:
		return s, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && ref.UID != uid {
		return s, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return s, nil
}

// nodeOf returns the node the pod runs on, with its name alone where the Node is gone, or nil for a pod not placed yet.
func (r *Requests) nodeOf(ctx context.Context, pod *corev1.Pod) (*corev1.Node, error) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	node, err := r.Get.Node(ctx, pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}, nil
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return node, nil
}

func (r *Requests) forServer(audiences []string) bool {
	return !slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(r.Audiences, a) })
}
