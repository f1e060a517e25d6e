/* tiny.S - a guest of one sector, which starts in a moment also under emulation.
 *
 * It says READY on the serial port and obeys: the power button turns it off; "w" makes it write
 * A into the first half of each 64 KiB of the disk from its second MiB on, and say END when no more can be written. All else that
 * comes in is sent back.
 *
 * Follows the BIOS Enhanced Disk Drive Specification (int 13h, function 43h), the 16550's data
 * sheet, and the ACPI specification ("PM1 Event Grouping") where SeaBIOS has its registers on a q35.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define COM1 0x3f8
#define LINE_STATUS (COM1 + 5)
#define PM1_STATUS 0x600
#define PM1_ENABLE 0x602
#define PM1_CONTROL 0x604
#define POWER_BUTTON 0x100
#define SLEEP_S5 0x2000
#define BUFFER_SEGMENT 0x1000
#define SECTORS 64
/* A qcow2 image grows by a cluster for each write that is this far from the last one. */
#define STRIDE 128

    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movb %dl, drive
    movw $BUFFER_SEGMENT, %ax
    movw %ax, %es
    xorw %di, %di
    movw $(SECTORS * 512), %cx
    movb $'A', %al
    rep stosb
    movw $PM1_ENABLE, %dx
    movw $POWER_BUTTON, %ax
    outw %ax, %dx
    movw $ready, %si
    call print

idle:
    call button
    movw $LINE_STATUS, %dx
    inb %dx, %al
    testb $1, %al
    jz idle
    movw $COM1, %dx
    inb %dx, %al
    call put
    cmpb $'w', %al
    jne idle

writing:
    call button
    movw $packet, %si
    movb drive, %dl
    movw $0x4300, %ax
    int $0x13
    jc full
    addl $STRIDE, lba
    jmp writing
full:
    movw $end, %si
    call print
    jmp idle

/* Turns the machine off when the button was pressed. */
button:
    movw $PM1_STATUS, %dx
    inw %dx, %ax
    testw $POWER_BUTTON, %ax
    jz 1f
    movw $PM1_CONTROL, %dx
    movw $SLEEP_S5, %ax
    outw %ax, %dx
1:  ret

/* The text at SI. */
print:
    lodsb
    testb %al, %al
    jz 1f
    call put
    jmp print
1:  ret

/* The character AL. */
put:
    movb %al, %ah
    movw $LINE_STATUS, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    movb %ah, %al
    movw $COM1, %dx
    outb %al, %dx
    ret

ready:
    .asciz "READY\r\n"
end:
    .asciz "END\r\n"
drive:
    .byte 0
    .balign 4
packet:
    .byte 16, 0
    .word SECTORS, 0, BUFFER_SEGMENT
lba:
    .quad 2048
    .org 510
    .word 0xaa55
