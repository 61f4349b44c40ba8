// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// tokenReview answers whose token it is, by the server's own authenticator.
type tokenReview struct {
	authenticator authenticator.Request
	audiences     authenticator.Audiences
}

func (t tokenReview) answer(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	r := obj.(*authenticationv1.TokenReview)
	if r.Spec.Token == "" {
		return nil, errors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := authenticator.Audiences(r.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = t.audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	// The token is presented as a client would: in the header of a request.
	request := (&http.Request{Header: http.Header{}}).WithContext(ctx)
	request.Header.Set("Authorization", "Bearer "+r.Spec.Token)
	response, ok, err := t.authenticator.AuthenticateRequest(request)
	r.Status.Authenticated = ok // what else the client has put there stays where nothing is found
	if err != nil {
		r.Status.Error = err.Error()
	}
	if !ok || response == nil {
		return r, nil
	}
	if response.User != nil {
		r.Status.User = userInfo(response.User)
	}
	if len(audiences) > 0 && len(audiences.Intersect(response.Audiences)) == 0 {
		return nil, errors.NewInternalError(fmt.Errorf("error validating audiences"))
	}
	r.Status.Audiences = response.Audiences
	return r, nil
}

// whoAmI answers a SelfSubjectReview, of which nothing that was asked is repeated.
func whoAmI(ctx context.Context, _ runtime.Object) (runtime.Object, error) {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, errors.NewBadRequest("no user present on request")
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(who)},
	}, nil
}

func userInfo(who user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	for k, v := range who.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}
