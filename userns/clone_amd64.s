#include "textflag.h"

// func rawClone(flags, stack, pidfd, entry uintptr, b *block) (pid uintptr)
//
// clone(2) with a stack of the child's own. The child calls entry, a Go function of the internal
// calling convention, with b in AX and without a g, and never comes back. (A call by name would go
// through a wrapper that reads g from the supervisor's thread-local storage, which lies in the heap
// that the child does not have.)
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVQ flags+0(FP), DI
	MOVQ stack+8(FP), SI
	MOVQ pidfd+16(FP), DX
	XORQ R10, R10
	XORQ R8, R8
	MOVQ entry+24(FP), R13
	MOVQ b+32(FP), R12
	MOVQ $56, AX // SYS_clone
	SYSCALL
	TESTQ AX, AX
	JNE  parent

	// In the child, on its own stack.
	SUBQ $64, SP
	MOVQ R12, AX
	XORQ R14, R14
	XORPS X15, X15
	CALL R13
	INT  $3

parent:
	MOVQ AX, pid+40(FP)
	RET
