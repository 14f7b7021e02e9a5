// Package images knows OCI images as they lie on this machine: names, the content store, and what
// of it a sandbox needs.
//
// This package is the light part, which every start of sbx links: it reads small JSON files and
// nothing else. What talks to registries is in images/registry, what reads and writes layers in
// images/layer; both belong to the program sbx-images.
package images
