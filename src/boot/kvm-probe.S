/* kvm-probe.S - a boot sector that does what a stock kernel does on its way up, then ends QEMU.
 *
 * BIOS disk calls (EDD) and the memory map in real mode, long mode with paging, MSRs, CPUID, SSE,
 * and a halted CPU woken by timer interrupts. Virtualisation that is emulated badly or nested in
 * something unable hangs or dies in one of these. Success is a write to QEMU's isa-debug-exit.
 *
 * The bytes in kvm-probe.h are made from it (the unit test compares them):
 *   as --64 -o probe.o kvm-probe.S
 *   ld -m elf_x86_64 -Ttext 0x7c00 -e start --oformat binary -o probe.bin probe.o
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
	.code16
	.globl start
start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp
	ljmp $0, $1f
1:	sti

	/* EDD: installation check, then the drive's parameters into 0x6000. DL is the BIOS's. */
	movb $0x41, %ah
	movw $0x55aa, %bx
	int $0x13
	jc fail16
	movb $0x48, %ah
	movw $0x6000, %si
	movw $0x42, (%si)
	int $0x13
	jc fail16

	/* The memory map, entry by entry. */
	xorl %ebx, %ebx
2:	movl $0xe820, %eax
	movl $0x534d4150, %edx
	movl $24, %ecx
	movw $0x6100, %di
	int $0x15
	jc 3f
	testl %ebx, %ebx
	jnz 2b
3:
	cli
	inb $0x92, %al
	orb $2, %al
	andb $0xfe, %al
	outb %al, $0x92

	/* Identity-map the first 2 MiB: PML4 0x1000, PDPT 0x2000, PD 0x3000. */
	xorl %eax, %eax
	movw $0x1000, %di
	movw $(0x3000 / 4), %cx
	rep stosl
	movl $0x2003, 0x1000
	movl $0x3003, 0x2000
	movl $0x83, 0x3000

	/* PAE and SSE; long mode; paging. */
	movl $0x620, %eax
	movl %eax, %cr4
	movl $0x1000, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	btsl $8, %eax
	wrmsr
	lgdtl gdt_pointer
	movl $0x80000033, %eax
	movl %eax, %cr0
	ljmpl $8, $long_mode

fail16:
	movb $1, %al
	outb %al, $0xf4
	jmp fail16

	.code64
long_mode:
	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss

	xorl %eax, %eax
	cpuid
	movl $0x1b, %ecx
	rdmsr
	rdtsc
	xorps %xmm0, %xmm0
	movups %xmm0, 0x6200

	/* Vector 0x20 of the IDT at 0x4000: the timer. */
	movl $0x4200, %edi
	movl $tick, %eax
	movw %ax, (%rdi)
	movw $8, 2(%rdi)
	movl $0x8e00, 4(%rdi)
	movq $0, 8(%rdi)
	lidt idt_pointer

	/* The interrupt controller's vectors to 0x20, all lines off but the timer's. */
	movl $pic, %esi
	movl $9, %ecx
4:	lodsw
	movzbl %ah, %edx
	outb %al, %dx
	loop 4b

	/* Three ticks, halted in between. */
	xorl %ebp, %ebp
	sti
5:	hlt
	cmpl $3, %ebp
	jb 5b
	cli
	movb $0x10, %al
	outb %al, $0xf4
6:	jmp 6b

tick:
	pushq %rax
	incl %ebp
	movb $0x20, %al
	outb %al, $0x20
	popq %rax
	iretq

	/* value, port */
pic:	.byte 0x11, 0x20, 0x11, 0xa0, 0x20, 0x21, 0x28, 0xa1, 4, 0x21, 2, 0xa1, 1, 0x21, 1, 0xa1, 0xfe, 0x21

	.balign 8
gdt:	.quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word 23
	.long gdt
idt_pointer:
	.word 0x0fff
	.quad 0x4000

	.org 510
	.word 0xaa55
