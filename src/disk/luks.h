/* luks.h - LUKS1 and LUKS2 containers: the header, and what is inside as a disk.
 *
 * After "LUKS1 On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.1.
 * Headers and key slots are libcryptsetup's matter, which gets a private copy of them; but what its
 * cryptography does not have without the kernel's help, all ciphers but AES, and sectors are
 * decrypted and encrypted here: AES, Serpent, Twofish and Camellia in XTS mode with plain64, and in
 * CBC mode with plain, plain64 and essiv:sha256; sectors of 512 to 4096 bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

typedef struct
{
  guint version; /* 1 or 2 */
  char uuid[41];
  char *cipher;              /* "aes-xts-plain64" */
  guint64 key_bytes;         /* LUKS1: of the volume key; LUKS2: 0, the key slots say */
  guint64 data_offset;       /* bytes: where the data begin */
  guint64 data_length;       /* bytes; 0: up to the end */
  guint64 iv_offset;         /* sectors of 512 bytes: the first one's number */
  guint32 sector_size;       /* bytes */
  guint64 header_size;       /* bytes from the start that hold the header and the key slots */
  guint64 digest_iterations; /* of PBKDF2, with which a volume key is checked */
  char *json;                /* LUKS2: the metadata; else NULL */
} H2kLuksHeader;

/* A key slot: how a passphrase becomes a key, what that opens, and how the result is checked. */
typedef struct
{
  char *kdf, *hash; /* "pbkdf2", "argon2id"; HASH of PBKDF2 alone */
  guint64 iterations, memory_kib, lanes;
  GBytes *salt;
  char *cipher;   /* of the area, with a key of */
  gsize key_size; /* bytes */
  guint64 offset; /* bytes: where the area begins */
  char *af_hash;  /* of the anti-forensic splitter */
  gsize stripes;
  gsize volume_key_size; /* bytes */
  char *digest_hash;
  guint64 digest_iterations;
  GBytes *digest_salt, *digest;
} H2kLuksSlot;

/* Read the header of DISK. Errors: H2K_ERROR_FILESYSTEM (none, or a damaged one),
 * H2K_ERROR_UNSUPPORTED (integrity, a reencryption that has not ended, more than one segment,
 * another cipher...), those of the disk. */
H2kLuksHeader *h2k_luks_header_read (H2kDisk *disk, GError **error);
void h2k_luks_header_free (H2kLuksHeader *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLuksHeader, h2k_luks_header_free)

/* The key slot NUMBER of DISK, which is in use. What it says fits the header, and its area is at
 * most 2 MiB. Errors: H2K_ERROR_FILESYSTEM, those of the disk. */
H2kLuksSlot *h2k_luks_slot_read (H2kDisk *disk, const H2kLuksHeader *header, guint number,
                                 GError **error);
void h2k_luks_slot_free (H2kLuksSlot *slot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLuksSlot, h2k_luks_slot_free)
#define H2K_LUKS_MAX_KEY 512u
/* The bytes of SLOT's area that hold the key, whole sectors. */
gsize h2k_luks_slot_area (const H2kLuksSlot *slot);
/* Open SLOT, whose area's bytes are in AREA, with a passphrase; KEY gets volume_key_size bytes. 0;
 * -EPERM: it is the wrong one; -ENOTSUP: a cipher or hash that is not there; -ENOMEM. As slow and
 * hungry as the slot wants. */
int h2k_luks_slot_open (const H2kLuksSlot *slot, H2kDisk *area, const void *passphrase,
                        gsize length, guint8 *key);
/* What encrypts and decrypts sectors. Thread-safety: all of it. */
typedef struct _H2kLuksCipher H2kLuksCipher;
/* NAME as in a header, "aes-xts-plain64", with KEY, which is copied, and wiped at the end. Sectors
 * have SECTOR bytes. NULL: libgcrypt has no such thing. */
H2kLuksCipher *h2k_luks_cipher_new (const char *name, GBytes *key, guint32 sector);
H2kLuksCipher *h2k_luks_cipher_ref (H2kLuksCipher *cipher);
void h2k_luks_cipher_unref (H2kLuksCipher *cipher); /* may be NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLuksCipher, h2k_luks_cipher_unref)
/* LENGTH bytes of whole sectors, in place; NUMBER is the first one's, counted in units of 512
 * bytes. Errors: H2K_ERROR_FAILED (libgcrypt). */
gboolean h2k_luks_cipher_run (H2kLuksCipher *cipher, guint64 number, guint8 *data, gsize length,
                              gboolean encrypt, GError **error);

/* Make libgcrypt ready. */
void h2k_luks_start_gcrypt (void);

/* What tells it from every other one: "LUKS" and its UUID. The caller's. */
char *h2k_luks_identity (const H2kLuksHeader *header);

/* How long the stretching of passphrases may take: for one key slot, for all that a VM has. */
#define H2K_LUKS_SLOT_TIME (2 * G_TIME_SPAN_MINUTE)
#define H2K_LUKS_TIME (10 * G_TIME_SPAN_MINUTE)

/* Why a key slot that asks for this is not tried: the caller's; NULL: it is. KDF is LUKS' word,
 * "pbkdf2" or "argon2id", HOST_KIB what memory this host has for it. */
char *h2k_luks_judge (const char *kdf, guint64 iterations, guint64 memory_kib, guint64 lanes,
                      guint64 host_kib);

/* The volume key, from the first of SECRETS (GBytes *: passphrases or key files) that opens a key
 * slot; wiped when it is freed. NULL and no error: none of them does. What the header asks for is
 * bounded: a key slot that wants too much is passed over, and one that takes longer than
 * H2K_LUKS_SLOT_TIME given up; TIME_LEFT (microseconds) shrinks by what was spent. Ends early when
 * the current GCancellable is cancelled. Errors: H2K_ERROR_FILESYSTEM (libcryptsetup does not take
 * the header), H2K_ERROR_UNSUPPORTED (no key slot opened, and one of them could not be tried: the
 * message says which and what it asks for), H2K_ERROR_CANCELLED; those of the disk. */
GBytes *h2k_luks_unlock (H2kDisk *disk, const H2kLuksHeader *header, GPtrArray *secrets,
                         gint64 *time_left, GError **error);

/* What is in the container DISK: writable when DISK is. KEY is copied, and wiped with the disk.
 * Errors: H2K_ERROR_UNSUPPORTED (a cipher that libgcrypt does not have), H2K_ERROR_FILESYSTEM. */
H2kDisk *h2k_luks_disk_new (H2kDisk *disk, const H2kLuksHeader *header, GBytes *key,
                            const char *name, GError **error);

/* A new LUKS1 header with its key slots, AES-256-XTS, of which one opens with PASSPHRASE: what an
 * encrypted qcow2 image has in it. KEY is the volume key, wiped when it is freed. Errors:
 * H2K_ERROR_FAILED (libcryptsetup). */
GBytes *h2k_luks_format (GBytes *passphrase, GBytes **key, GError **error);
/* How often the passphrase is stretched (PBKDF2 with SHA-256), a million times: about half a
 * second, each time that an image is opened. A measured number would take longer than that to find.
 * Tests make it small. */
extern guint32 h2k_luks_format_iterations;
