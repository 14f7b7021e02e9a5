// Package layer reads and writes the layers of images: tar streams that say what one layer changes,
// and trees as the kernel's overlay stacks them.
//
// A layer is hostile input. Its tree is made inside a user namespace whose root holds nothing else
// (the program sbx-images starts itself so); here, all the same, every path is opened by descriptor
// and resolved below the tree alone, so that no entry reaches what is not in it.
package layer
