/* image-key.h - the passphrase that encrypted images are opened with, and how they are encrypted.
 *
 * The passphrase is what a file holds, all of its bytes: a line's end at its end is part of it. So
 * QEMU takes it ("-object secret,file="), and so it goes into a secret of libvirt. QEMU wants it to
 * be text (UTF-8, without NUL), libvirt no more than 64 KiB.
 *
 * An image is encrypted as QEMU does it ("encrypt.format=luks"): a LUKS1 header lies in it, which
 * has the volume key, locked; see docs/interop/qcow2.txt of QEMU.
 *
 * Thread-safety: all of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/luks.h"

#define H2K_IMAGE_KEY_MAX 65536u

/* H2kImageKey: a passphrase, and the volume key that it opened last; both are wiped at the end. */

/* The one in the file PATH, which nobody but its owner may read or write. Errors: H2K_ERROR_SOURCE
 * (it cannot be read, or others can; it holds nothing, or what QEMU does not take). */
H2kImageKey *h2k_image_key_read (const char *path, GError **error);
H2kImageKey *h2k_image_key_ref (H2kImageKey *key);
void h2k_image_key_unref (H2kImageKey *key); /* may be NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kImageKey, h2k_image_key_unref)
/* KEY's. */
GBytes *h2k_image_key_secret (const H2kImageKey *key);

/* How an image is encrypted, or is to be. */
typedef struct
{
  GBytes *header;        /* LUKS1, with its key slots */
  H2kLuksCipher *cipher; /* NULL: it is locked, so that no data can be written */
} H2kImageLuks;

void h2k_image_luks_clear (H2kImageLuks *luks);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (H2kImageLuks, h2k_image_luks_clear)

/* A new volume key, locked; takes as long as opening it does. Errors: H2K_ERROR_FAILED. */
gboolean h2k_image_luks_new (H2kImageKey *key, H2kImageLuks *luks, GError **error);
/* How the qcow2 image PATH is encrypted; without KEY it stays locked. Without a header: it is not.
 * Errors: those of h2k_disk_open() and h2k_image_key_unlock(). */
gboolean h2k_image_luks_read (const char *path, H2kImageKey *key, H2kImageLuks *luks,
                              GError **error);
/* The cipher of an image NAME (escaped) that has HEADER. Images with the same header are unlocked
 * once. Errors: H2K_ERROR_SOURCE (another passphrase), _FORMAT (a damaged header), _UNSUPPORTED (no
 * LUKS1, a cipher that is not there, too much work asked for), _CANCELLED. */
H2kLuksCipher *h2k_image_key_unlock (H2kImageKey *key, const char *name, GBytes *header,
                                     GError **error);
/* The UUID in HEADER, by which libvirt knows its secret, into UUID. FALSE: there is none. */
gboolean h2k_image_luks_uuid (GBytes *header, char uuid[37]);
