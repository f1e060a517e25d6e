/* guest.S - a guest in a boot sector, for tests: at its Nth boot it says and does what is written in
 * sector 1 + N of its disk: byte 0 where ('S': the serial port, 'V': the screen, by the BIOS), then
 * the text, ended by a zero; byte 511 what next (0: halt, 1: reset, 2: power off). Sector 1 counts
 * the boots.
 *
 *   as --32 guest.S, ld -m elf_i386 -Ttext 0x7c00 --oformat binary
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
	.code16
	.globl start
	.set count, 0x8000
	.set text, 0x8200
start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $start, %sp
	sti
	cld
	mov %dl, drive
	mov $0x42, %ah
	call transfer		/* sector 1 */
	incb count
	mov $0x43, %ah
	call transfer
	movzbw count, %ax
	inc %ax
	mov %ax, sector
	movw $text, buffer
	mov $0x42, %ah
	call transfer
	mov $text, %si
	lodsb
	mov %al, %bh
next:
	lodsb
	test %al, %al
	jz done
	cmp $'V', %bh
	je screen
	mov %al, %bl
1:	mov $0x3fd, %dx
	in %dx, %al
	test $0x20, %al
	jz 1b
	mov %bl, %al
	mov $0x3f8, %dx
	out %al, %dx
	jmp next
screen:
	push %bx
	xor %bx, %bx
	mov $0xe, %ah
	int $0x10
	pop %bx
	jmp next
done:
	mov text + 511, %al
	cmp $1, %al
	jne 1f
	mov 0x46c, %cx		/* resets within a second are taken for one: 24 ticks of 55 ms */
	add $24, %cx
2:	hlt
	cmp %cx, 0x46c
	js 2b
	mov $6, %al
	mov $0xcf9, %dx
	out %al, %dx
1:	cmp $2, %al
	jne halt
	mov $0x2000, %ax
	mov $0x604, %dx
	out %ax, %dx
halt:
	hlt
	jmp halt
transfer:			/* AH: 0x42 read, 0x43 write */
	xor %al, %al
	mov $packet, %si
	mov drive, %dl
	int $0x13
	ret
drive:	.byte 0
	.balign 4
packet:	.byte 16, 0
	.word 1
buffer:	.word count, 0
sector:	.quad 1
	.org 510
	.word 0xaa55
