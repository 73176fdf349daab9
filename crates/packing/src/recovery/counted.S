# Boot code of LBA 0 while the recovery partition is to start: counts that it does, then runs the boot sector of GRUB there. After
# MOST starts without the agent having come up it runs the boot sector of the system before, or says that there is none. It gives way
# at once where it cannot write the count or cannot read GRUB, as long as there is that system.
# 16-bit real mode; a PC's firmware loads it to 0:0x7c00 with the drive's number in DL. `counted.rs` has the bytes, and puts in the
# LBAs at the end, each in a disk address packet (Enhanced Disk Drive Specification 3.0, INT 13h functions 42h and 43h).
    .code16
    .set MOST, 5                # starts without the agent coming up
    .set TRIES, 3               # of each transfer
    .set SELF, 0x600            # where it runs, so that the next one has its place
    .set BLOCK, 0x1000          # where the sector with the count is read to
    .set NEXT, 0x7c00
start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $NEXT, %sp
    movw $NEXT, %si
    movw $SELF, %di
    movw $256, %cx
    rep movsw
    ljmp $0, $(SELF + moved - start)
moved:
    sti
    testb $0x80, %dl            # some firmware gives a floppy's
    jnz 1f
    movb $0x80, %dl
1:  movw $(SELF + counted - start), %si
    movb $0x42, %ah             # read
    call transfer
    jc unknown
    cmpl $0x53524d43, BLOCK     # CMRS, which tells this code from others: at byte 0x34 in each version
    jne unknown
    cmpb $MOST, BLOCK + 4
    jae most
    incb BLOCK + 4
    call count
    jnc next
    cmpb $0, BLOCK + 5          # what is not counted would be tried for ever
    jne next
give_way:
    movb $1, BLOCK + 5          # there is nothing else behind it
    movw $(SELF + before - start), %si
    jmp run
unknown:
    movb $1, BLOCK + 5          # without a count nobody knows whether the system of before is whole; the recovery is
next:
    movw $(SELF + grub - start), %si
run:
    call read
    jc unreadable
    ljmp $0, $NEXT
most:
    cmpb $0, BLOCK + 5
    je give_way                 # the system of before is whole
    movb $0, BLOCK + 4          # whoever switches it on again has as many starts
    call count
    movw $(SELF + half - start), %si
    call say
2:  hlt
    jmp 2b
unreadable:
    cmpb $0, BLOCK + 5
    je give_way
    movw $(SELF + sick - start), %si
    call say
    movw $0x98, %cx             # wait 10 seconds: 0x989680 microseconds
    movw $0x9680, %dx
    movb $0x86, %ah
    int $0x15
    ljmp $0xffff, $0            # reset
say:
    lodsb
    testb %al, %al
    jz 3f
    pushw %ax
    movb $0x0e, %ah             # to the screen
    movw $7, %bx
    int $0x10
    popw %ax
    pushw %dx
    movw $0, %dx                # to the first serial port
    movb $1, %ah
    int $0x14
    popw %dx
    jmp say
count:
    movw $(SELF + counted - start), %si
    movw $0x4300, %ax           # write
    jmp transfer
read:
    movb $0x42, %ah
transfer:
    movw $TRIES, %bp
1:  movw $1, 2(%si)             # a failure leaves there how many sectors it has moved
    pushaw
    int $0x13
    popaw
    jnc 3f
    pushaw
    movb $0, %ah                # reset the drive
    int $0x13
    popaw
    decw %bp
    jnz 1b
    stc
3:  ret
half:
    .asciz "cloud-machine: 5 starts of the recovery failed, and the disk is half rewritten\r\n"
sick:
    .asciz "cloud-machine: disk error\r\n"
counted:
    .byte 16, 0, 1, 0
    .word BLOCK, 0
    .quad 0
grub:
    .byte 16, 0, 1, 0
    .word NEXT, 0
    .quad 0
before:
    .byte 16, 0, 1, 0
    .word NEXT, 0
    .quad 0
end:
