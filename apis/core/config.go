// SPDX-License-Identifier: Apache-2.0

// This file holds what ConfigMap, Secret and ServiceAccount are. A data set is limited to 1 MiB (corev1.MaxSecretSize),
// and once immutable stays as it is.

package core

import (
	"encoding/json"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateConfigMap checks a new ConfigMap.
func ValidateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&cm.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	size := 0
	for _, key := range sortedKeys(cm.Data) {
		p := field.NewPath("data").Key(key)
		l.Each(p, key, validation.IsConfigMapKey(key))
		if _, ok := cm.BinaryData[key]; ok {
			l.Invalid(p, key, "duplicate of key present in binaryData")
		}
		size += len(cm.Data[key])
	}
	for _, key := range sortedKeys(cm.BinaryData) {
		l.Each(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(cm.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		l.TooLong(field.NewPath(""), corev1.MaxSecretSize)
	}
	return l.Errors()
}

// ValidateConfigMapUpdate checks an update of a ConfigMap.
func ValidateConfigMapUpdate(cm, before *corev1.ConfigMap) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&cm.ObjectMeta, &before.ObjectMeta))
	if isTrue(before.Immutable) {
		l.Add(validateStaysImmutable(cm.Immutable))
		if !sameMap(cm.Data, before.Data) {
			l.Forbidden(field.NewPath("data"), immutableSet)
		}
		if !sameMap(cm.BinaryData, before.BinaryData) {
			l.Forbidden(field.NewPath("binaryData"), immutableSet)
		}
	}
	l.Add(ValidateConfigMap(cm))
	return l.Errors()
}

// SetDefaultsSecret gives a Secret its type and moves stringData, which is for writing only, to data.
func SetDefaultsSecret(secret *corev1.Secret) {
	setIfEmpty(&secret.Type, corev1.SecretTypeOpaque)
	if len(secret.StringData) > 0 && secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for key, value := range secret.StringData {
		secret.Data[key] = []byte(value)
	}
	secret.StringData = nil
}

// ValidateSecret checks a new Secret; its type says what data it must have.
func ValidateSecret(secret *corev1.Secret) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&secret.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	p := field.NewPath("data")
	size := 0
	for _, key := range sortedKeys(secret.Data) {
		l.Each(p.Key(key), key, validation.IsConfigMapKey(key))
		size += len(secret.Data[key])
	}
	if size > corev1.MaxSecretSize {
		l.TooLong(p, corev1.MaxSecretSize)
	}
	has := func(key string) bool { _, ok := secret.Data[key]; return ok }
	need := func(key string, ok bool) {
		if !ok {
			l.Required(p.Key(key), "")
		}
	}
	needJSON := func(key string) {
		need(key, has(key))
		if has(key) {
			if err := json.Unmarshal(secret.Data[key], &map[string]any{}); err != nil {
				l.Invalid(p.Key(key), "<secret contents redacted>", err.Error())
			}
		}
	}
	switch secret.Type {
	case corev1.SecretTypeServiceAccountToken:
		if secret.Annotations[corev1.ServiceAccountNameKey] == "" {
			l.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeDockercfg:
		needJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		needJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		either := has(corev1.BasicAuthUsernameKey) || has(corev1.BasicAuthPasswordKey)
		need(corev1.BasicAuthUsernameKey, either)
		need(corev1.BasicAuthPasswordKey, either)
	case corev1.SecretTypeSSHAuth:
		need(corev1.SSHAuthPrivateKey, len(secret.Data[corev1.SSHAuthPrivateKey]) > 0)
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, has(corev1.TLSCertKey))
		need(corev1.TLSPrivateKeyKey, has(corev1.TLSPrivateKeyKey))
	}
	return l.Errors()
}

// PrepareSecretForUpdate keeps the type where the writer leaves it open.
func PrepareSecretForUpdate(secret, before *corev1.Secret) {
	setIfEmpty(&secret.Type, before.Type)
}

// ValidateSecretUpdate checks an update of a Secret.
func ValidateSecretUpdate(secret, before *corev1.Secret) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&secret.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("type"), secret.Type, before.Type))
	if isTrue(before.Immutable) {
		l.Add(validateStaysImmutable(secret.Immutable))
		if !sameMap(secret.Data, before.Data) {
			l.Forbidden(field.NewPath("data"), immutableSet)
		}
	}
	l.Add(ValidateSecret(secret))
	return l.Errors()
}

// PrepareServiceAccountForCreate keeps of each reference to a secret its name alone.
func PrepareServiceAccountForCreate(sa *corev1.ServiceAccount) {
	for i := range sa.Secrets {
		sa.Secrets[i] = corev1.ObjectReference{Name: sa.Secrets[i].Name}
	}
}

// PrepareServiceAccountForUpdate does what PrepareServiceAccountForCreate does.
func PrepareServiceAccountForUpdate(sa, _ *corev1.ServiceAccount) { PrepareServiceAccountForCreate(sa) }

// ValidateServiceAccount checks a new ServiceAccount.
func ValidateServiceAccount(sa *corev1.ServiceAccount) field.ErrorList {
	return check.Metadata(&sa.ObjectMeta, apivalidation.ValidateServiceAccountName)
}

// ValidateServiceAccountUpdate checks an update of a ServiceAccount.
func ValidateServiceAccountUpdate(sa, before *corev1.ServiceAccount) field.ErrorList {
	return append(check.MetadataUpdate(&sa.ObjectMeta, &before.ObjectMeta), ValidateServiceAccount(sa)...)
}

const immutableSet = "field is immutable when `immutable` is set"

func validateStaysImmutable(now *bool) field.ErrorList {
	if isTrue(now) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), immutableSet)}
}

func isTrue(b *bool) bool { return b != nil && *b }

// sameMap is equality that does not tell a missing map from an empty one, as storage does not either.
func sameMap[V any](a, b map[string]V) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// sortedKeys makes errors come in the same order every time.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
