// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	authenticationjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
	"k8s.io/apiserver/pkg/warning"
)

// Authenticator checks tokens. Put the library's token cache before it: the same token comes with every request of a
// client, and the cache answers in 1 µs.
type Authenticator struct {
	issuer    string
	audiences authenticator.Audiences
	keys      []*ecdsa.PublicKey
	keysByID  map[string]*ecdsa.PublicKey
	get       Getters
	now       func() time.Time
	// Used, if there is one, is told of a Secret whose token is used, once a day.
	Used func(ctx context.Context, secret *corev1.Secret, labels map[string]string)
}

// Labels of Secrets that hold tokens: the day in UTC at which the token was used last, and, on one that nobody used for long, that it is not to be
// accepted any more.
const (
	lastUsedLabel     = "kubernetes.io/legacy-token-last-used"
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
)

// NewAuthenticator accepts tokens of that issuer, and those kept in Secrets, signed by one of the keys. audiences are those of the API
// server, which tokens must be for unless a TokenReview asks about others.
func NewAuthenticator(issuer string, audiences authenticator.Audiences, get Getters, keys ...*ecdsa.PublicKey) (*Authenticator, error) {
	a := &Authenticator{
		issuer: issuer, audiences: audiences, keys: keys, keysByID: map[string]*ecdsa.PublicKey{}, get: get, now: time.Now,
	}
	for _, key := range keys {
		id, err := keyID(key)
		if err != nil {
			return nil, err
		}
		a.keysByID[id] = key
	}
	return a, nil
}

// AuthenticateToken implements authenticator.Token. A token of another issuer is not for this authenticator (false and
// no error): another one may know it.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	issuer := unverifiedIssuer(token)
	if issuer == "" || (issuer != a.issuer && issuer != legacyIssuer) {
		return nil, false, nil
	}
	parsed, err := jwt.ParseSigned(token)
	if err != nil {
		return nil, false, nil
	}
	var registered jwt.Claims
	var bound boundClaims
	var legacy legacyClaims
	private := any(&bound)
	if issuer == legacyIssuer {
		private = &legacy
	}
	if err := a.verify(parsed, &registered, private); err != nil {
		return nil, false, err
	}
	audiences, err := a.audiencesOf(ctx, &registered)
	if err != nil {
		return nil, false, err
	}
	var info *serviceaccount.ServiceAccountInfo
	if issuer == legacyIssuer {
		info, err = a.checkLegacy(ctx, token, &registered, &legacy)
	} else {
		info, err = a.checkBound(ctx, &registered, &bound.Kubernetes)
	}
	if err != nil {
		return nil, false, err
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}

// unverifiedIssuer reads whose token this claims to be, to pass by those of others cheaply.
func unverifiedIssuer(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// verify checks the signature and reads the claims.
func (a *Authenticator) verify(token *jwt.JSONWebToken, claims ...any) error {
	if len(token.Headers) != 1 || token.Headers[0].Algorithm != string(jose.ES256) {
		return errors.New("invalid signature, tokens are signed with ES256")
	}
	keys := a.keys
	if id := token.Headers[0].KeyID; id != "" {
		keys = nil
		if key := a.keysByID[id]; key != nil {
			keys = []*ecdsa.PublicKey{key}
		}
	}
	if len(keys) == 0 {
		return errors.New("invalid signature, no keys found")
	}
	var errs []error
	for _, key := range keys {
		err := token.Claims(key, claims...)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return utilerrors.NewAggregate(errs)
}

// audiencesOf returns for which of the audiences asked about the token is.
func (a *Authenticator) audiencesOf(ctx context.Context, claims *jwt.Claims) (authenticator.Audiences, error) {
	has := authenticator.Audiences(claims.Audience)
	if len(has) == 0 {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token", claims.Subject)
		has = a.audiences
	}
	asked, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		asked = a.audiences
	}
	both := has.Intersect(asked)
	if len(both) == 0 && len(a.audiences) != 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", has, asked)
	}
	return both, nil
}

// checkBound checks that the token is in its time and that all it depends on exists.
func (a *Authenticator) checkBound(ctx context.Context, registered *jwt.Claims, claims *kubernetesClaims) (*serviceaccount.ServiceAccountInfo, error) {
	now := a.now()
	switch err := registered.Validate(jwt.Expected{Time: now}); {
	case err == nil:
	case errors.Is(err, jwt.ErrExpired):
		return nil, errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return nil, errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, errors.New("service account token is issued in the future")
	default:
		return nil, fmt.Errorf("service account token claims could not be validated: %w", err)
	}
	// Clocks differ by so much at most; what was deleted before that is gone for tokens.
	goneIfDeletedBefore := now.Add(-jwt.DefaultLeeway)

	namespace := claims.Namespace
	account, err := a.get.ServiceAccount(ctx, namespace, claims.ServiceAccount.Name)
	if err != nil {
		return nil, err
	}
	if string(account.UID) != claims.ServiceAccount.UID {
		return nil, fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, claims.ServiceAccount.UID)
	}
	if account.DeletionTimestamp != nil && account.DeletionTimestamp.Time.Before(goneIfDeletedBefore) {
		return nil, fmt.Errorf("service account %s/%s has been deleted", namespace, claims.ServiceAccount.Name)
	}
	info := &serviceaccount.ServiceAccountInfo{
		Namespace:    namespace,
		Name:         claims.ServiceAccount.Name,
		UID:          claims.ServiceAccount.UID,
		CredentialID: authenticationjwt.CredentialIDForJTI(registered.ID),
	}
	if ref := claims.Secret; ref != nil {
		secret, err := a.get.Secret(ctx, namespace, ref.Name)
		if err := checkBinding("secret", *ref, secret, err, goneIfDeletedBefore); err != nil {
			return nil, err
		}
	}
	if ref := claims.Pod; ref != nil {
		pod, err := a.get.Pod(ctx, namespace, ref.Name)
		if err := checkBinding("pod", *ref, pod, err, goneIfDeletedBefore); err != nil {
			return nil, err
		}
		info.PodName, info.PodUID = ref.Name, ref.UID
	}
	if ref := claims.Node; ref != nil {
		if claims.Pod == nil {
			node, err := a.get.Node(ctx, ref.Name)
			if err := checkBinding("node", *ref, node, err, goneIfDeletedBefore); err != nil {
				return nil, err
			}
		}
		info.NodeName, info.NodeUID = ref.Name, ref.UID
	}
	if claims.WarnAfter != nil && *claims.WarnAfter != 0 && now.After(claims.WarnAfter.Time()) {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/stale-token", fmt.Sprintf("subject: %s, seconds after warning threshold: %d",
			registered.Subject, now.Unix()-claims.WarnAfter.Time().Unix()))
	}
	return info, nil
}

// checkBinding tells whether what a token is bound to still is that object. kind is as in error messages.
func checkBinding(kind string, ref reference, obj metav1.Object, err error, goneIfDeletedBefore time.Time) error {
	if err != nil {
		return errors.New("service account token has been invalidated")
	}
	if string(obj.GetUID()) != ref.UID {
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, obj.GetUID(), kind, ref.UID)
	}
	if deleted := obj.GetDeletionTimestamp(); deleted != nil && deleted.Time.Before(goneIfDeletedBefore) {
		return errors.New("service account token has been invalidated")
	}
	return nil
}

// checkLegacy checks that the Secret still holds this very token, and that its account exists.
func (a *Authenticator) checkLegacy(ctx context.Context, token string, registered *jwt.Claims, claims *legacyClaims) (*serviceaccount.ServiceAccountInfo, error) {
	namespace, name, err := serviceaccount.SplitUsername(registered.Subject)
	if err != nil || namespace != claims.Namespace || name != claims.ServiceAccountName {
		return nil, errors.New("sub claim is invalid")
	}
	if claims.SecretName == "" {
		return nil, errors.New("secretName claim is missing")
	}
	if claims.ServiceAccountUID == "" {
		return nil, errors.New("serviceAccountUID claim is missing")
	}
	secret, err := a.get.Secret(ctx, namespace, claims.SecretName)
	if err != nil || secret.DeletionTimestamp != nil {
		return nil, errors.New("Token has been invalidated")
	}
	if subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) == 0 {
		return nil, errors.New("Token does not match server's copy")
	}
	account, err := a.get.ServiceAccount(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if account.DeletionTimestamp != nil {
		return nil, fmt.Errorf("ServiceAccount %s/%s has been deleted", namespace, name)
	}
	if string(account.UID) != claims.ServiceAccountUID {
		return nil, fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.UID, claims.ServiceAccountUID)
	}
	a.markUsed(ctx, secret)
	if secret.Labels[invalidSinceLabel] != "" {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token-invalidated", secret.Name+"/"+secret.Namespace)
		return nil, fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API or manually "+
			"created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token", namespace, secret.Name, namespace, name, invalidSinceLabel)
	}
	if slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret.Name }) {
		warning.AddWarning(ctx, "", "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.")
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token-autogenerated-secret", secret.Name)
	} else {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token-manual-secret", secret.Name)
	}
	return &serviceaccount.ServiceAccountInfo{Namespace: namespace, Name: name, UID: claims.ServiceAccountUID}, nil
}

// markUsed tells that the token in a Secret is used, the first time a day. Tomorrow may have been told by a server whose clock is ahead.
func (a *Authenticator) markUsed(ctx context.Context, secret *corev1.Secret) {
	today, last := a.now().UTC(), secret.Labels[lastUsedLabel]
	if a.Used != nil && last != today.Format(time.DateOnly) && last != today.AddDate(0, 0, 1).Format(time.DateOnly) {
		a.Used(ctx, secret, map[string]string{lastUsedLabel: today.Format(time.DateOnly)})
	}
}

var _ authenticator.Token = (*Authenticator)(nil)
