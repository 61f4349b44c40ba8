// SPDX-License-Identifier: Apache-2.0

module github.com/google/go-cmp

go 1.26
