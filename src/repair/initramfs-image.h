/* initramfs-image.h - what an initramfs holds, and how something is added to it.
 *
 * An image is a row of segments, each a cpio archive as it is or compressed; the kernel unpacks
 * them in order over each other (Linux, driver-api/early-userspace/buffer-format.rst and
 * init/initramfs.c). Reading one streams it: memory depends on the number of members only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/cpio.h"

typedef enum
{
  H2K_PAYLOAD_NONE, /* an archive that is not compressed */
  H2K_PAYLOAD_GZIP,
  H2K_PAYLOAD_XZ,
  H2K_PAYLOAD_ZSTD,
  H2K_PAYLOAD_LZ4, /* the legacy frame, which alone the kernel knows */
  H2K_PAYLOAD_LZMA,
  H2K_PAYLOAD_BZIP2,
} H2kPayload;

/* "gzip", "not compressed". Static. */
const char *h2k_payload_name (H2kPayload payload);

typedef struct
{
  guint32 mode;    /* type and permissions as in struct stat */
  char *target;    /* of a symbolic link; else NULL */
  GBytes *content; /* of the few files that matter to the repair; else NULL */
} H2kInitramfsMember;

typedef struct
{
  GHashTable *members; /* name as H2kCpioEntry's -> H2kInitramfsMember */
  guint segments;
  H2kPayload payload; /* of the last segment */
  guint64 end;        /* where the last segment ends; up to SIZE there are zeros */
  guint64 size;       /* of the whole image */
  guint64 unpacked;   /* bytes that came out of it */
} H2kInitramfs;

/* LENGTH bytes at OFFSET of an image; never asked for what lies behind its end. */
typedef GBytes *(*H2kInitramfsRead) (guint64 offset, gsize length, gpointer data, GError **error);

/* Read an image of SIZE bytes. More than LIMIT unpacked bytes are an error (0: 1 GiB).
 * Errors: H2K_ERROR_FORMAT (damaged, or not one), H2K_ERROR_UNSUPPORTED, those of READ. */
H2kInitramfs *h2k_initramfs_read (H2kInitramfsRead read, gpointer data, guint64 size, guint64 limit,
                                  GError **error);
void h2k_initramfs_free (H2kInitramfs *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kInitramfs, h2k_initramfs_free)

/* The member NAME, NULL when there is none. No link is followed. */
const H2kInitramfsMember *h2k_initramfs_member (const H2kInitramfs *image, const char *name);
/* Where NAME leads in the unpacked image, as a member's name: every link that is there is
 * followed; the components at its end need not exist. NULL: the links go in a circle. */
char *h2k_initramfs_resolve (const H2kInitramfs *image, const char *name);

/* What to append to IMAGE so that the kernel, and the tools that list an initramfs, read ARCHIVE
 * as its next segment: compressed like the segment before where that is possible. PAYLOAD is
 * set to how. Errors: H2K_ERROR_FAILED (a library's). */
GBytes *h2k_initramfs_pack (const H2kInitramfs *image, GBytes *archive, H2kPayload *payload,
                            GError **error);
