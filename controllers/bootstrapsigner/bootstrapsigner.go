// SPDX-License-Identifier: Apache-2.0

// Package bootstrapsigner signs the ConfigMap cluster-info in kube-public with every bootstrap token that is meant for it, so that a
// machine that has such a token and nothing else can tell whether it speaks to the right cluster. It costs a look at each Secret and
// ConfigMap that changes, and a walk over the Secrets of kube-system when a token has, or the ConfigMap.
package bootstrapsigner

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/pkg/auth/bootstrap"
)

// What is signed, and under which keys: that of the kubeconfig, and for each token the prefix and its id.
const (
	Namespace       = metav1.NamespacePublic
	Name            = "cluster-info"
	KeyKubeconfig   = "kubeconfig"
	SignaturePrefix = "jws-kubeconfig-"
)

// Controller signs.
type Controller struct {
	client  kubernetes.Interface
	secrets corelisters.SecretLister
	maps    corelisters.ConfigMapLister
	synced  []cache.InformerSynced
	loop    *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, secrets coreinformers.SecretInformer, configMaps coreinformers.ConfigMapInformer) (*Controller, error) {
	c := &Controller{
		client: client, secrets: secrets.Lister(), maps: configMaps.Lister(),
		synced: []cache.InformerSynced{secrets.Informer().HasSynced, configMaps.Informer().HasSynced},
	}
	c.loop = loop.New("bootstrapsigner", c.sync)
	mapChanged := func(obj any) {
		if m, ok := loop.Object[*corev1.ConfigMap](obj); ok && m.Namespace == Namespace && m.Name == Name {
			c.loop.Enqueue(m)
		}
	}
	tokenChanged := func(obj any) {
		if s, ok := loop.Object[*corev1.Secret](obj); ok && s.Namespace == bootstrap.Namespace && s.Type == bootstrap.SecretType {
			c.loop.Add(Namespace + "/" + Name)
		}
	}
	_, errMaps := configMaps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: mapChanged, UpdateFunc: func(_, cur any) { mapChanged(cur) }})
	_, errSecrets := secrets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tokenChanged, UpdateFunc: func(_, cur any) { tokenChanged(cur) }, DeleteFunc: tokenChanged})
	return c, errors.Join(errMaps, errSecrets)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

// sync signs the one ConfigMap there is to sign.
func (c *Controller) sync(ctx context.Context, _ string) error {
	old, err := c.maps.ConfigMaps(Namespace).Get(Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	secrets, err := c.secrets.Secrets(bootstrap.Namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	data, err := signed(old.Data, secrets, time.Now())
	if err != nil || maps.Equal(data, old.Data) {
		return err
	}
	cur := old.DeepCopy()
	cur.Data = data
	_, err = c.client.CoreV1().ConfigMaps(Namespace).Update(ctx, cur, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) { // either brings an event
		return fmt.Errorf("sign ConfigMap %s/%s: %w", Namespace, Name, err)
	}
	return nil
}

// signed returns data with the signatures of these tokens and no others. Without a kubeconfig there is nothing to sign.
func signed(data map[string]string, secrets []*corev1.Secret, now time.Time) (map[string]string, error) {
	content, ok := data[KeyKubeconfig]
	if !ok {
		return data, nil
	}
	out := map[string]string{}
	for key, value := range data {
		if !strings.HasPrefix(key, SignaturePrefix) {
			out[key] = value
		}
	}
	for _, secret := range secrets {
		id, key, ok := bootstrap.ForSigning(secret, now)
		if !ok {
			continue
		}
		signature, err := sign(content, id, key)
		if err != nil {
			return nil, fmt.Errorf("sign with bootstrap token %s: %w", id, err)
		}
		out[SignaturePrefix+id] = signature
	}
	return out, nil
}

// sign makes a JSON Web Signature (RFC 7515) by HS256 of content, which it leaves out (appendix F).
func sign(content, id, key string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil)), nil
}
