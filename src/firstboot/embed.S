/* embed.S - the programs and scripts for Windows guests, as parts of the library.
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

	BEGIN(drivers)
	.incbin "010-drivers.cmd"
	END(drivers)

	BEGIN(network)
	.incbin "020-network.cmd"
	END(network)

	BEGIN(ghost_nics)
	.incbin "030-ghost-nics.cmd"
	END(ghost_nics)

	BEGIN(old_tools)
	.incbin "040-old-tools.cmd"
	END(old_tools)

	BEGIN(disks)
	.incbin "050-disks.cmd"
	END(disks)

	BEGIN(guest_agent)
	.incbin "060-guest-agent.cmd"
	END(guest_agent)

	BEGIN(cleanup)
	.incbin "900-cleanup.cmd"
	END(cleanup)

	.section .note.GNU-stack, "", %progbits
