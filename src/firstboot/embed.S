/* embed.S - the programs for Windows guests, as they were built, as parts of the library.
 *
 * Each is a symbol and its end; a program that this build has no compiler for is empty.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define BEGIN(name) .globl h2k_fb_##name; .hidden h2k_fb_##name; .balign 16; h2k_fb_##name:
#define END(name) .globl h2k_fb_##name##_end; .hidden h2k_fb_##name##_end; h2k_fb_##name##_end: .byte 0

	.section .rodata

	BEGIN(x86_64)
#ifdef PROGRAM_X86_64
	.incbin PROGRAM_X86_64
#endif
	END(x86_64)

	BEGIN(i686)
#ifdef PROGRAM_I686
	.incbin PROGRAM_I686
#endif
	END(i686)

	BEGIN(aarch64)
#ifdef PROGRAM_AARCH64
	.incbin PROGRAM_AARCH64
#endif
	END(aarch64)

	.section .note.GNU-stack, "", %progbits
