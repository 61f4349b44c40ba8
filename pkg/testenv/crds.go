// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/retry"
)

// CRDs are CustomResourceDefinitions to install.
type CRDs struct {
	// Paths are files, and folders of files, in YAML or JSON, as controller-gen writes them; folders below these are not read.
	// Objects of other kinds in them are passed over. A path that does not exist, or has no CustomResourceDefinition, is an error.
	Paths []string
	// Objects are further definitions.
	Objects []*apiextensionsv1.CustomResourceDefinition
}

// read returns the definitions, as copies. A conversion webhook that is a service becomes the one at Env.WebhookServer.
func (c CRDs) read() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, path := range c.Paths {
		documents, err := readManifests(path)
		if err != nil {
			return nil, err
		}
		before := len(all)
		for _, d := range documents {
			if d.kind.Kind != "CustomResourceDefinition" {
				continue
			}
			if want := apiextensionsv1.SchemeGroupVersion.String(); d.kind.APIVersion != want {
				return nil, fmt.Errorf("%s: a CustomResourceDefinition of apiVersion %q: make it %s", d.from, d.kind.APIVersion, want)
			}
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := d.decode(crd); err != nil {
				return nil, err
			}
			all = append(all, crd)
		}
		if len(all) == before {
			return nil, fmt.Errorf("%s: there is no CustomResourceDefinition in it", path)
		}
	}
	for _, crd := range c.Objects {
		all = append(all, crd.DeepCopy())
	}
	return all, nil
}

// InstallCRDs creates definitions, or updates those of the same name, and returns when what they define is served.
func (e *Env) InstallCRDs(ctx context.Context, crds CRDs) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	all, err := crds.read()
	if err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinitions: %w", err)
	}
	return e.installCRDs(ctx, all)
}

func (e *Env) installCRDs(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	if len(crds) == 0 {
		return nil, nil
	}
	client, err := apiextensions.NewForConfig(e.admin)
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfig(e.admin)
	if err != nil {
		return nil, err
	}
	definitions := client.CustomResourceDefinitions()
	installed := make([]*apiextensionsv1.CustomResourceDefinition, len(crds))
	for i, crd := range crds {
		e.webhooks.patchConversion(crd)
		if installed[i], err = ensureCRD(ctx, definitions, crd); err != nil {
			return nil, fmt.Errorf("install CustomResourceDefinition %s: %w", crd.Name, err)
		}
	}
	for i, crd := range installed {
		if installed[i], err = waitServed(ctx, definitions, served, crd); err != nil {
			return nil, fmt.Errorf("wait for %s to be served: %w", crd.Name, err)
		}
	}
	return installed, nil
}

func ensureCRD(ctx context.Context, client apiextensions.CustomResourceDefinitionInterface, crd *apiextensionsv1.CustomResourceDefinition) (made *apiextensionsv1.CustomResourceDefinition, err error) {
	made, err = client.Create(ctx, crd, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return made, err
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		old, err := client.Get(ctx, crd.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		changed := crd.DeepCopy()
		changed.ResourceVersion = old.ResourceVersion
		made, err = client.Update(ctx, changed, metav1.UpdateOptions{})
		return err
	})
	return made, err
}

// waitServed waits until a definition is established and all of its served versions are in discovery, from where clients learn
// what there is.
func waitServed(ctx context.Context, client apiextensions.CustomResourceDefinitionInterface, served discovery.ServerResourcesInterface, crd *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := established(crd)
		if err != nil {
			return nil, err
		}
		if ok {
			if ok, err = discovered(served, crd); err != nil {
				return nil, err
			}
		}
		if ok {
			return crd, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if crd, err = client.Get(ctx, crd.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
}

// established tells whether a definition is in force, or what keeps it from ever being so.
func established(crd *apiextensionsv1.CustomResourceDefinition) (bool, error) {
	is := false
	for _, c := range crd.Status.Conditions {
		switch {
		case c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse:
			return false, fmt.Errorf("its names are taken: %s", c.Message)
		case c.Type == apiextensionsv1.Established:
			is = c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return is, nil
}

func discovered(served discovery.ServerResourcesInterface, crd *apiextensionsv1.CustomResourceDefinition) (bool, error) {
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		list, err := served.ServerResourcesForGroupVersion(crd.Spec.Group + "/" + version.Name)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !lists(list, crd.Spec.Names.Plural) {
			return false, nil
		}
	}
	return true, nil
}

func lists(list *metav1.APIResourceList, plural string) bool {
	for _, resource := range list.APIResources {
		if resource.Name == plural {
			return true
		}
	}
	return false
}

// UninstallCRDs deletes definitions by name, and with them all objects of what they define, and returns when they are gone.
func (e *Env) UninstallCRDs(ctx context.Context, names ...string) error {
	client, err := apiextensions.NewForConfig(e.admin)
	if err != nil {
		return err
	}
	definitions := client.CustomResourceDefinitions()
	var errs []error
	for _, name := range names {
		if err := definitions.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete CustomResourceDefinitions: %w", err)
	}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for _, name := range names {
		for {
			_, err := definitions.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("wait for CustomResourceDefinition %s to go: %w", name, err)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for CustomResourceDefinition %s to go: %w", name, context.Cause(ctx))
			}
		}
	}
	return nil
}
