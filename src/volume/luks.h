/* luks.h - LUKS1 and LUKS2 containers: the header, and what is inside as a disk.
 *
 * After "LUKS1 On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.1.
 * Key slots are libcryptsetup's matter, which gets a private copy of the header; sectors are
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
  char *cipher;        /* "aes-xts-plain64" */
  guint64 key_bytes;   /* LUKS1: of the volume key; LUKS2: 0, the key slots say */
  guint64 data_offset; /* bytes: where the data begin */
  guint64 data_length; /* bytes; 0: up to the end */
  guint64 iv_offset;   /* sectors of 512 bytes: the first one's number */
  guint32 sector_size; /* bytes */
  guint64 header_size; /* bytes from the start that hold the header and the key slots */
} H2kLuksHeader;

/* Read the header of DISK. Errors: H2K_ERROR_FILESYSTEM (none, or a damaged one),
 * H2K_ERROR_UNSUPPORTED (integrity, a reencryption that has not ended, more than one segment,
 * another cipher...), those of the disk. */
H2kLuksHeader *h2k_luks_header_read (H2kDisk *disk, GError **error);
void h2k_luks_header_free (H2kLuksHeader *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLuksHeader, h2k_luks_header_free)

/* The volume key, from the first of SECRETS (GBytes *: passphrases or key files) that opens a key
 * slot; wiped when it is freed. NULL and no error: none of them does. Errors: H2K_ERROR_FILESYSTEM
 * (libcryptsetup does not take the header), H2K_ERROR_TOOL (it does not work here), those of the
 * disk. */
GBytes *h2k_luks_unlock (H2kDisk *disk, const H2kLuksHeader *header, GPtrArray *secrets,
                         GError **error);

/* What is in the container DISK: writable when DISK is. KEY is copied, and wiped with the disk.
 * Errors: H2K_ERROR_UNSUPPORTED (a cipher that libgcrypt does not have), H2K_ERROR_FILESYSTEM. */
H2kDisk *h2k_luks_disk_new (H2kDisk *disk, const H2kLuksHeader *header, GBytes *key,
                            const char *name, GError **error);
