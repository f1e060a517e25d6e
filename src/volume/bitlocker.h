/* bitlocker.h - BitLocker volumes: their metadata, their keys, and what is inside as a disk.
 *
 * After "BitLocker Drive Encryption (BDE) format specification" of the libbde project, dislocker's
 * structures where that one is silent (validation, states), and N. Ferguson, "AES-CBC + Elephant
 * diffuser" (2006). Volumes of Vista, of Windows 7 and later, and BitLocker To Go: AES-CBC with and
 * without the diffuser, AES-XTS, 128 and 256 bits, whole or used space only.
 *
 * The sectors are encrypted with a key (FVEK) that is encrypted with another one (VMK), which is
 * there once for each protector: a TPM, a recovery password... While BitLocker is suspended there
 * is one more protector, the clear key, which lies in the metadata and opens the volume for
 * anybody.
 *
 * A volume's content is as long as the volume, and lies at the same offsets, but: the first sectors
 * are Windows 7's own, and the filesystem's lie elsewhere ("header"); the three copies of the
 * metadata and the header's place read as zeros.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct
{
  const char *name; /* "AES-XTS 128", static */
  guint16 method;   /* as the metadata have it */
  gboolean is_xts, has_diffuser;
  gsize key_size;   /* bytes of AES' key, of one of both with XTS */
  gsize second_key; /* where the other key lies in the FVEK (XTS, diffuser); 0: there is none */
  gsize fvek_size;  /* bytes that an FVEK has at least */
} H2kBitlockerCipher;

/* What a VMK may be protected by. */
typedef enum
{
  H2K_BITLOCKER_CLEAR_KEY = 1 << 0,
  H2K_BITLOCKER_TPM = 1 << 1, /* alone, or with a PIN or a startup key */
  H2K_BITLOCKER_STARTUP_KEY = 1 << 2,
  H2K_BITLOCKER_RECOVERY = 1 << 3, /* a recovery password */
  H2K_BITLOCKER_PASSWORD = 1 << 4,
  H2K_BITLOCKER_PUBLIC_KEY = 1 << 5, /* a smart card, a data recovery agent */
  H2K_BITLOCKER_OTHER = 1 << 6,
} H2kBitlockerProtector;

#define H2K_BITLOCKER_COPIES 3u

typedef struct
{
  guint version; /* 1: Vista, 2: Windows 7 and later */
  char uuid[37];
  const H2kBitlockerCipher *cipher;
  guint protectors;                       /* H2kBitlockerProtector */
  guint32 sector_size;                    /* bytes: what is encrypted as one */
  guint64 encrypted_size;                 /* bytes; what lies behind is not encrypted */
  guint64 metadata[H2K_BITLOCKER_COPIES]; /* bytes: where they are */
  guint64 metadata_size;                  /* bytes of each of them */
  guint64 header_size; /* bytes: how much lies elsewhere; of Vista: how much is not encrypted */
  guint64 header;      /* bytes: where it lies; of Vista: 0 */
  guint64 boot_copy;   /* of Vista: where the boot sector's copy is; 0: none */
  guint64 metadata_cluster, mft_mirror; /* of Vista: what the boot sector has, and would have */
  GBytes *entries;                      /* of the metadata */
} H2kBitlocker;

/* Read the metadata of DISK, from the first of their copies that is valid. Errors:
 * H2K_ERROR_FILESYSTEM (no BitLocker volume, or damaged), H2K_ERROR_UNSUPPORTED (encryption or
 * decryption has not ended, another cipher, another version), those of the disk. */
H2kBitlocker *h2k_bitlocker_read (H2kDisk *disk, GError **error);
void h2k_bitlocker_free (H2kBitlocker *volume);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kBitlocker, h2k_bitlocker_free)

/* What tells it from every other one: "BitLocker" and its UUID. The caller's. */
char *h2k_bitlocker_identity (const H2kBitlocker *volume);
/* "a TPM or a recovery password"; the caller's. */
char *h2k_bitlocker_protectors (const H2kBitlocker *volume);
/* Whether what lies at OFFSET of the volume itself is BitLocker's (boot sectors, metadata, the
 * header's place); *END gets where this ends. */
gboolean h2k_bitlocker_is_own (const H2kBitlocker *volume, guint64 offset, guint64 *end);

/* The FVEK, by the clear key; wiped when it is freed. NULL and no error: there is no clear key.
 * Errors: H2K_ERROR_FILESYSTEM (a key's MAC is wrong). NAME is for messages. */
GBytes *h2k_bitlocker_clear_key (const H2kBitlocker *volume, const char *name, GError **error);

/* The same by the first of SECRETS (GBytes *) that is its recovery password (eight times six
 * digits) or its password. NULL and no error: none of them is. Each attempt is a million of
 * SHA-256; TIME_LEFT (microseconds) shrinks by what was spent, and what cannot be tried for lack of
 * it counts as wrong. Errors: H2K_ERROR_CANCELLED. */
GBytes *h2k_bitlocker_unlock (const H2kBitlocker *volume, GPtrArray *secrets, gint64 *time_left,
                              GError **error);

/* What is in the volume DISK: writable when DISK is, whose sectors it writes as
 * a whole. It keeps a reference to FVEK. Nothing but zeros can be written where the metadata are.
 * Errors: H2K_ERROR_UNSUPPORTED. */
H2kDisk *h2k_bitlocker_disk_new (H2kDisk *disk, const H2kBitlocker *volume, GBytes *fvek,
                                 const char *name, GError **error);

/* --- for the files of this kind ----------------------------------------------------------------
 */

/* Encrypts and decrypts sectors, for one thread at a time. */
typedef struct _H2kBitlockerCrypt H2kBitlockerCrypt;

/* NULL: libgcrypt cannot. FVEK has the cipher's fvek_size bytes. */
H2kBitlockerCrypt *h2k_bitlocker_crypt_new (const H2kBitlockerCipher *cipher, const guint8 *fvek,
                                            guint32 sector_size);
void h2k_bitlocker_crypt_free (H2kBitlockerCrypt *crypt); /* wipes the keys */
/* LENGTH bytes of DATA, whole sectors that lie at OFFSET of the volume itself, in place. */
gboolean h2k_bitlocker_crypt_do (H2kBitlockerCrypt *crypt, guint64 offset, guint8 *data,
                                 gsize length, gboolean encrypt);

/* An entry of the metadata. */
typedef struct
{
  guint16 type, value; /* what it is for, what it holds */
  const guint8 *data;
  gsize length;
} H2kBitlockerEntry;

typedef enum
{
  H2K_BITLOCKER_ENTRY_VMK = 2,
  H2K_BITLOCKER_ENTRY_FVEK = 3,
  H2K_BITLOCKER_ENTRY_HEADER = 15,
} H2kBitlockerEntryType;

typedef enum
{
  H2K_BITLOCKER_VALUE_KEY = 1,
  H2K_BITLOCKER_VALUE_STRETCH = 3,
  H2K_BITLOCKER_VALUE_CCM = 5, /* a key, encrypted */
  H2K_BITLOCKER_VALUE_VMK = 8,
  H2K_BITLOCKER_VALUE_PLACE = 15,
} H2kBitlockerValue;

/* Of a VMK's entry: identifier, time, two bytes, and then */
#define H2K_BITLOCKER_VMK_PROTECTION 26u
#define H2K_BITLOCKER_VMK_ENTRIES 28u

/* Take the next one off the LEFT bytes at *AT. FALSE: there is none, or one that is no entry. */
gboolean h2k_bitlocker_next (const guint8 **at, gsize *left, H2kBitlockerEntry *entry);
/* Which H2kBitlockerProtector the VMK in ENTRY has; 0: it is no VMK. */
guint h2k_bitlocker_protector (const H2kBitlockerEntry *entry);
