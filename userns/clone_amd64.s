#include "textflag.h"

// func rawClone(flags, stack, pidfd, tls uintptr, b *block) (pid uintptr)
//
// clone(2) with a stack of the child's own. The child calls childEntry and never comes back. Its
// thread-local storage is set to memory of its own as well, since the call into Go code reads g
// from there, and the supervisor's lies in a heap that the child does not have.
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVQ flags+0(FP), DI
	MOVQ stack+8(FP), SI
	MOVQ pidfd+16(FP), DX
	XORQ R10, R10
	MOVQ tls+24(FP), R8
	MOVQ b+32(FP), R12
	MOVQ $56, AX // SYS_clone
	SYSCALL
	TESTQ AX, AX
	JNE  parent

	// In the child, on its own stack.
	SUBQ $32, SP
	MOVQ R12, 0(SP)
	CALL ·childEntry(SB)
	INT  $3

parent:
	MOVQ AX, pid+40(FP)
	RET
