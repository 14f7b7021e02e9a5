//go:build !cgo

package userns

const withCgo = false
