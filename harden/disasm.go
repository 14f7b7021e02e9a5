package harden

import (
	"golang.org/x/sys/unix"
)

// Disassemble is the program as text.
func Disassemble(filter []unix.SockFilter) string { return "" }
