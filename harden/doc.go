// Package harden holds the walls that stand behind the namespaces: a seccomp filter, Landlock, and
// the table of capabilities.
//
// In scope: the rules as data (Policy), their translation into classic BPF for amd64 and arm64 (Compile), the
// text of such a program (Disassemble), what Landlock is to handle on which kernel (LandlockFor), and the
// names of capabilities and system calls.
//
// Not in scope: loading a filter or dropping a capability. Both are steps of the plan, walked between clone
// and execve; this package makes the bytes. It neither prints nor logs, and makes no system call but to ask
// what the kernel has (LastCap, LandlockABI).
package harden
