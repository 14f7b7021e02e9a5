#include "textflag.h"

// func rawClone(flags, stack, pidfd, tls uintptr, b *block) (pid uintptr)
//
// clone(2) with a stack of the child's own. The child calls childEntry and never comes back.
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVD flags+0(FP), R0
	MOVD stack+8(FP), R1
	MOVD pidfd+16(FP), R2
	MOVD tls+24(FP), R3
	MOVD ZR, R4
	MOVD b+32(FP), R20
	MOVD $220, R8 // SYS_clone
	SVC
	CBNZ R0, parent

	// In the child, on its own stack.
	SUB  $32, RSP
	MOVD R20, 8(RSP)
	BL   ·childEntry(SB)
	BRK

parent:
	MOVD R0, pid+40(FP)
	RET
