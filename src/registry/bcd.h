/* bcd.h - the Boot Configuration Data store of Windows Vista and later: a registry hive of objects,
 * which have elements.
 *
 * An object is a key below Objects, named by its GUID; an element is a key below the object's
 * Elements, named by its type in hexadecimal, with the one value "Element". The second digit of a
 * type is the value's format: 1 a device, 2 a text, 3 an object, 4 objects, 5 a number, 6 a
 * yes or no.
 *
 * Everything is hostile: an object has at most 256 elements and a store 1024 objects with 16384
 * elements, the rest is not read; inheritance that leads in circles ends. Texts are UTF-8 and not
 * safe for terminals.
 *
 * Thread-safety: a store that was read is not changed and may be used by several threads.
 *
 * Format: "Boot Configuration Data" of Microsoft's WMI reference; the layout of device elements is
 * that of stores which bcdedit wrote (there is no public description).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "registry/hive.h"

#define H2K_BCD_BOOTMGR "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"

/* Types of objects that are programs. */
#define H2K_BCD_TYPE_BOOTMGR 0x10100002u
#define H2K_BCD_TYPE_LOADER 0x10200003u
#define H2K_BCD_TYPE_RESUME 0x10200004u
#define H2K_BCD_TYPE_MEMTEST 0x10200005u

/* Types of elements. */
#define H2K_BCD_DEVICE 0x11000001u      /* where the program is */
#define H2K_BCD_PATH 0x12000002u        /* of the program: "\Windows\system32\winload.exe" */
#define H2K_BCD_DESCRIPTION 0x12000004u /* for the menu */
#define H2K_BCD_INHERIT 0x14000006u     /* objects whose elements count, too */
#define H2K_BCD_RECOVERY_SEQUENCE 0x14000008u
#define H2K_BCD_DEBUG 0x16000010u    /* of the boot programs */
#define H2K_BCD_BOOT_EMS 0x16000020u /* of the boot programs */
#define H2K_BCD_GRAPHICS_DISABLED 0x16000046u
#define H2K_BCD_OS_DEVICE 0x21000001u     /* loader: where Windows is */
#define H2K_BCD_SYSTEM_ROOT 0x22000002u   /* loader: "\Windows" */
#define H2K_BCD_DEFAULT 0x23000003u       /* boot manager */
#define H2K_BCD_RESUME_OBJECT 0x23000003u /* loader: the same number */
#define H2K_BCD_DISPLAY_ORDER 0x24000001u /* boot manager */
#define H2K_BCD_BOOT_SEQUENCE 0x24000002u /* boot manager: for the next start alone */
#define H2K_BCD_TIMEOUT 0x25000004u       /* boot manager: seconds */
#define H2K_BCD_SAFE_BOOT 0x25000080u     /* loader */
#define H2K_BCD_KERNEL_DEBUG 0x260000a0u  /* loader */
#define H2K_BCD_EMS 0x260000b0u           /* loader */

typedef enum
{
  H2K_BCD_NO_DEVICE, /* missing, or too damaged to be one */
  H2K_BCD_BOOT,      /* the volume that the boot manager is on */
  H2K_BCD_MBR,       /* a partition, by its disk's signature and its place */
  H2K_BCD_GPT,       /* a partition, by GUIDs */
  H2K_BCD_LOCATE,    /* the volume that has the program's path */
  H2K_BCD_OTHER,     /* a file, a RAM disk, a network, ... */
} H2kBcdDeviceKind;

typedef struct
{
  H2kBcdDeviceKind kind;
  guint32 signature;    /* MBR */
  guint64 offset;       /* MBR: bytes from the start of the disk */
  guint8 disk[16];      /* GPT: as in the table */
  guint8 partition[16]; /* GPT */
} H2kBcdDevice;

typedef struct
{
  guint32 type;
  H2kRegValue *value;
} H2kBcdElement;

typedef struct
{
  char *id; /* "{...}" */
  guint32 type;
  GPtrArray *elements; /* H2kBcdElement * */
} H2kBcdObject;

typedef struct
{
  GPtrArray *objects; /* H2kBcdObject *, in the hive's order */
} H2kBcd;

/* The store in HIVE, as it is now. Errors: H2K_ERROR_FORMAT (it is a hive, but no store). */
H2kBcd *h2k_bcd_read (H2kHive *hive, GError **error);
void h2k_bcd_free (H2kBcd *bcd);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kBcd, h2k_bcd_free)

/* NULL: none. ID is compared without case; it may be NULL. */
const H2kBcdObject *h2k_bcd_find (const H2kBcd *bcd, const char *id);

/* What an element of OBJECT says. Missing ones, and ones of another type, are NULL, FALSE, or the
 * kind NO_DEVICE. Texts and arrays are the caller's. */
char *h2k_bcd_text (const H2kBcdObject *object, guint32 type);
GStrv h2k_bcd_objects (const H2kBcdObject *object, guint32 type);
gboolean h2k_bcd_number (const H2kBcdObject *object, guint32 type, guint64 *out);
H2kBcdDevice h2k_bcd_device (const H2kBcdObject *object, guint32 type);
/* Whether an element is set to yes, in OBJECT itself or in what it inherits from. */
gboolean h2k_bcd_is_set (const H2kBcd *bcd, const H2kBcdObject *object, guint32 type);

gboolean h2k_bcd_device_equal (const H2kBcdDevice *a, const H2kBcdDevice *b);
/* DEVICE in words: "partition at 1048576 of disk 1a2b3c4d", "boot". The caller's. */
char *h2k_bcd_device_to_text (const H2kBcdDevice *device);

/* Change an element in HIVE; the store that was read stays as it was. */
gboolean h2k_bcd_set_text (H2kHive *hive, const H2kBcdObject *object, guint32 type,
                           const char *text, GError **error);
/* DEVICE is H2K_BCD_MBR or H2K_BCD_GPT. Additional options of the element that is there are kept.
 */
gboolean h2k_bcd_set_device (H2kHive *hive, const H2kBcdObject *object, guint32 type,
                             const H2kBcdDevice *device, GError **error);
/* The key of an element below the hive, "Objects\{...}\Elements\11000001". The caller's. */
char *h2k_bcd_key (const H2kBcdObject *object, guint32 type);
