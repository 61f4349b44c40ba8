// SPDX-License-Identifier: Apache-2.0
//
// The newest etcd of the series that stock Kubernetes of the module above is released with, server included.
module github.com/hivemind-project/hivemind/test/upstream/etcd

go 1.26.0

require go.etcd.io/etcd/server/v3 v3.6.16
