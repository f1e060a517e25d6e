/* signs.c - the table of what a booting guest says when it has come up or has failed.
 *
 * The texts are those of the programs themselves: the Linux kernel, GRUB 2, SeaBIOS, EDK II,
 * initramfs-tools, dracut, systemd, util-linux, Windows' boot sectors, NTLDR, BOOTMGR and its
 * Emergency Management Services, which write on the serial port.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/watch.h"

#define NO_ROOT_ADVICE                                                                             \
  "the initramfs lacks a driver for the new disk, or root= names the disk by a name that has "     \
  "changed; run the repairs \"initramfs\", \"bootloader\" and \"fstab\""
#define EMERGENCY_ADVICE                                                                           \
  "look in the lines above for what failed: most often a filesystem in fstab that is named by a "  \
  "device name which has changed; run the repair \"fstab\""
#define GRUB_ADVICE                                                                                \
  "GRUB does not find its files or its configuration on the disk; check that every disk of the "   \
  "VM was converted, in the same order, and run the repair \"bootloader\""
#define FIRMWARE_ADVICE                                                                            \
  "check that the first disk is the one with the boot loader, and that the firmware (BIOS or "     \
  "UEFI) is the one the guest was installed with"

#define BOOTMGR_ADVICE                                                                             \
  "check that every disk of the VM was converted, in the same order, that the first disk is the "  \
  "one with the system partition, and that the firmware is the one Windows was installed with"
#define BCD_ADVICE                                                                                 \
  "the boot store (BCD) names a partition that is not there, or is damaged: check that every "     \
  "disk was converted, in the same order; else start the installation disk's repair"
#define NO_DRIVER_ADVICE                                                                           \
  "the driver for the disk's controller is missing or not started at boot: inject the VirtIO "     \
  "drivers, and start the VM by its bootstrap definition first"
#define REGISTRY_ADVICE                                                                            \
  "a registry hive is damaged: the copy as it was before the migration lies beside it, with the "  \
  "ending .h2k-backup"
#define STOP_ADVICE                                                                                \
  "look up the number; the drivers of the old hypervisor and what was changed in the registry "    \
  "are "                                                                                           \
  "in the report"
/* As the blue screen has it, and as Emergency Management Services describe it in XML. */
#define STOP(number) "(STOP: 0x0*|STOPCODE.*\"0x0*)" number "\\b"

const H2kSign h2k_signs[] = {
    /* agetty, busybox getty, login: "host login: ", perhaps with a kernel message drawn behind. */
    {H2K_SIGN_LOGIN, TRUE, 700, "^[^\\s\\[\\]:]+ login: ?$", "a login prompt", NULL},
    {H2K_SIGN_LOGIN, FALSE, 0, "^[^\\s\\[\\]:]+ login: ?\\[ *\\d+\\.\\d+\\]", "a login prompt",
     NULL},

    {H2K_SIGN_KERNEL, FALSE, 0,
     "^\\[ *\\d+\\.\\d{6}\\]|Linux version \\d|Welcome to .*!$|"
     "Decompressing Linux|Booting the kernel|^\\[ +OK +\\] |^Begin: ",
     "the kernel runs", NULL},

    /* The kernel. */
    {H2K_SIGN_HINT, FALSE, 0, "VFS: (Cannot open root device|Unable to mount root fs)",
     "the kernel found no root filesystem", NO_ROOT_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "No working init found|Failed to execute /(s?bin/)?init",
     "the kernel could not start init", "the root filesystem is not the guest's, or is damaged"},
    {H2K_SIGN_FAILURE, FALSE, 1500, "Kernel panic - not syncing", "the guest's kernel panicked",
     "the lines above the panic say why"},

    /* initramfs-tools. */
    {H2K_SIGN_HINT, FALSE, 0, "Gave up waiting for root (file system |filesystem )?device",
     "the initramfs did not find the root filesystem", NO_ROOT_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "ALERT! +.*does not exist\\. +Dropping to a shell!",
     "the initramfs did not find the root filesystem", NO_ROOT_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "requires a manual fsck|UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY",
     "a filesystem of the guest is damaged",
     "repair it with e2fsck (or the tool of its type) before the migration"},
    {H2K_SIGN_FAILURE, TRUE, 2000, "^\\(initramfs\\) ?$",
     "the guest stopped at the initramfs prompt", NO_ROOT_ADVICE},

    /* dracut. Its timeouts start scripts that may yet find the disk; it names what is missing when
     * it gives up. */
    {H2K_SIGN_HINT, FALSE, 0, "dracut-initqueue.*timeout",
     "dracut has been waiting for the root filesystem without finding it", NO_ROOT_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "[Ww]arning: /dev/.*does not exist",
     "the initramfs did not find a disk that it needs", NO_ROOT_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "dracut: FATAL|dracut: Refusing to continue",
     "dracut refused to go on", NO_ROOT_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 2000, "^dracut:.*# ?$", "the guest stopped at the dracut shell",
     NO_ROOT_ADVICE},

    /* systemd, in the initramfs and after. */
    {H2K_SIGN_HINT, FALSE, 0, "(Timed out waiting for device|A start job is running for) .*dev[-/]",
     "systemd waits for a disk that does not appear", EMERGENCY_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "Dependency failed for .*Local File Systems",
     "a filesystem in fstab could not be mounted", EMERGENCY_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "Failed to (start Switch Root|switch root)",
     "the initramfs could not change to the root filesystem", NO_ROOT_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 5000, "Entering emergency mode", "the guest entered emergency mode",
     EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 3000, "You are in (emergency|rescue) mode",
     "the guest entered emergency mode", EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 3000, "Cannot open access to console, the root account is locked",
     "the guest entered emergency mode", EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 3000, "^\\(or (press|type) Control-D to continue\\): ?$",
     "the guest entered emergency mode", EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 3000, "^Give root password for (maintenance|system maintenance|login)",
     "the guest entered emergency mode", EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 3000, "^Press Enter for (maintenance|emergency|system maintenance)",
     "the guest entered emergency mode", EMERGENCY_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 5000,
     "^(Please (enter passphrase|unlock disk)|Enter passphrase for) .*: *(\\(press TAB .*)?$",
     "the guest waits for the passphrase of an encrypted disk",
     "nobody can type it in the boot test; start the VM with a display and enter it there"},

    /* GRUB. It may go on after an error, with another entry. */
    {H2K_SIGN_HINT, FALSE, 0,
     "^error: .*(no such (device|partition|disk)|unknown filesystem|not found|"
     "you need to load the kernel first|invalid magic number|attempt to read or write outside)",
     "GRUB could not read what it was told to", GRUB_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 2000, "^grub rescue> ?$", "the guest stopped at GRUB's rescue prompt",
     GRUB_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 2000, "^grub> ?$", "the guest stopped at GRUB's prompt", GRUB_ADVICE},

    /* The boot code in an MBR, Microsoft's and others'. */
    {H2K_SIGN_FAILURE, FALSE, 3000,
     "^(Missing operating system|Operating system not found|Error loading operating system|"
     "Invalid partition table|No active partition)",
     "the boot code in the MBR found no system to start", FIRMWARE_ADVICE},

    /* Windows' boot sectors, NTLDR and BOOTMGR. */
    {H2K_SIGN_FAILURE, FALSE, 2000, "^(BOOTMGR|NTLDR) (is|image is) (missing|compressed|corrupt)",
     "Windows' boot sector did not find its boot loader", BOOTMGR_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000,
     "^(A disk read error occurred|Remove disks or other media|Non-System disk or disk error)",
     "Windows' boot sector could not read its disk", BOOTMGR_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "An operating system wasn't found\\. Try disconnecting",
     "the boot sector found no Windows", BOOTMGR_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "^ *Windows could not start because",
     "NTLDR could not start Windows", BOOTMGR_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "^ *Windows failed to start\\. A recent",
     "the Windows boot manager could not start Windows", BCD_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "^ *Status: 0xc00000(0e|0f|98|bb)\\b|^ *Status: 0xc0000225\\b",
     "the Windows boot manager did not find what its boot store names", BCD_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "^ *Status: 0xc000014c\\b|\\bc0000218\\b",
     "Windows could not read a registry hive", REGISTRY_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "^ *Status: 0xc[0-9a-f]{7}\\b",
     "the Windows boot manager could not start Windows",
     "look up the number; the lines around it name the file"},

    /* Windows' kernel, when it has given up. */
    {H2K_SIGN_KERNEL, FALSE, 0, "SAC started and initialized", "Windows' kernel runs", NULL},
    {H2K_SIGN_FAILURE, FALSE, 1000, STOP ("7[Bb]"),
     "Windows did not get to its disk (stop error 0x7B, INACCESSIBLE_BOOT_DEVICE)",
     NO_DRIVER_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 1000, STOP ("[Ee][Dd]"),
     "Windows could not mount its volume (stop error 0xED, UNMOUNTABLE_BOOT_VOLUME)",
     "the filesystem is damaged, or its disk is not read right: run chkdsk /f before the "
     "migration"},
    {H2K_SIGN_FAILURE, FALSE, 1000, STOP ("74"),
     "Windows could not use its registry (stop error 0x74, BAD_SYSTEM_CONFIG_INFO)",
     REGISTRY_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 1000, STOP ("(5[Dd]|[Aa]5)"),
     "Windows does not run on this machine (stop error 0x5D or 0xA5: the processor or ACPI)",
     "give the VM another CPU model or machine type in its definition"},
    {H2K_SIGN_FAILURE, FALSE, 1500,
     "\\*\\*\\* STOP: (0x)?[0-9A-Fa-f]+|CLASSNAME=\"BLUESCREEN\"|STOPCODE.*\"0x[0-9A-Fa-f]+",
     "Windows stopped with a stop error (blue screen)", STOP_ADVICE},

    /* SeaBIOS and EDK II. A failed entry is followed by the next one. */
    {H2K_SIGN_HINT, FALSE, 0, "Boot failed: (not a bootable disk|could not read the boot disk)",
     "the BIOS found no boot loader on a disk", FIRMWARE_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 500, "No bootable device\\.",
     "the BIOS found nothing to boot on the disks", FIRMWARE_ADVICE},
    {H2K_SIGN_HINT, FALSE, 0, "BdsDxe: failed to (load|start)",
     "the UEFI firmware could not start a boot loader", FIRMWARE_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "BdsDxe: No bootable option or device was found",
     "the UEFI firmware found nothing to boot on the disks", FIRMWARE_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 2000, "Press any key to enter the Boot Manager Menu",
     "the UEFI firmware found nothing to boot on the disks", FIRMWARE_ADVICE},
    {H2K_SIGN_FAILURE, FALSE, 6000, "^UEFI Interactive Shell v",
     "the UEFI firmware started its shell instead of a boot loader", FIRMWARE_ADVICE},
    {H2K_SIGN_FAILURE, TRUE, 2000, "^Shell> ?$", "the guest stopped at the UEFI shell",
     FIRMWARE_ADVICE},
    {.regex = NULL},
};
