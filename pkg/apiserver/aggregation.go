// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"

	"github.com/hivemind-project/hivemind/pkg/apiserver/aggregation"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
)

// Aggregation is how this server speaks for users to servers that take part in the API, and who may speak for users to it.
type Aggregation struct {
	// APIServices is the informer of APIServices, and Informers are those of services and their endpoints. All run.
	APIServices cache.SharedIndexInformer
	Informers   informers.SharedInformerFactory
	// ClientCertificate and ClientKey, in PEM, are shown to the servers. FrontProxyCA is who signed them, and whom certificates of
	// front proxies must come from.
	ClientCertificate, ClientKey, FrontProxyCA []byte
}

// newAggregator returns what passes requests on to other servers, in front of main.
func newAggregator(main *genericapiserver.Config, c Config, custom *apiextensions.CustomResourceDefinitions, documents *openapi.Server) (*aggregation.Aggregator, error) {
	// What the server says of an APIService is managed by whom clients of kube-apiserver know as that.
	self := c.Loopback.Config(privileged)
	self.UserAgent = "kube-apiserver"
	client, err := apiregistrationclient.NewForConfig(self)
	if err != nil {
		return nil, fmt.Errorf("make a client of APIServices: %w", err)
	}
	return aggregation.New(aggregation.Config{
		APIServices: c.Aggregation.APIServices, Informers: c.Aggregation.Informers, Services: c.Webhooks.Services,
		ClientCertificate: c.Aggregation.ClientCertificate, ClientKey: c.Aggregation.ClientKey,
		Client: client, Definitions: custom.Informers.Apiextensions().V1().CustomResourceDefinitions(),
		Discovery: main.AggregatedDiscoveryGroupManager, Documents: documents, Serializer: negotiated(c.Registry),
	}), nil
}
