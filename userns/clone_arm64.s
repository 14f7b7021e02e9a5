#include "textflag.h"

// func rawClone(flags, stack, pidfd, entry uintptr, b *block) (pid uintptr)
//
// clone(2) with a stack of the child's own. The child calls entry, a Go function of the internal
// calling convention, with b in R0 and without a g, and never comes back.
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVD flags+0(FP), R0
	MOVD stack+8(FP), R1
	MOVD pidfd+16(FP), R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD entry+24(FP), R19
	MOVD b+32(FP), R20
	MOVD $220, R8 // SYS_clone
	SVC
	CBNZ R0, parent

	// In the child, on its own stack.
	SUB  $64, RSP
	MOVD R20, R0
	MOVD ZR, g
	BL   (R19)
	BRK

parent:
	MOVD R0, pid+40(FP)
	RET
