/* iso9660.h - reads folders and files of an ISO image where it lies: ECMA-119 with the names of
 * Rock Ridge (IEEE P1282) or, where it has none, of Joliet.
 *
 * libarchive reads ISO images, too, and seeks over what is not asked for, but it gives files in the
 * order of the disk and each once. Which files are wanted here is known from others (a driver's
 * from its INF), so that each would take another pass over some thousand headers. This reader asks
 * for nothing but the blocks of the folders and of the wanted files, and of any H2kFile.
 *
 * What the image says is hostile input: it is checked and bounded, and a folder that contains
 * itself is the caller's to notice. Not read: symbolic links, folders that Rock Ridge has
 * relocated, files of several or interleaved extents, compressed files (zisofs).
 *
 * Thread-safety: all of it may be called from any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

/* A folder of more bytes than this is refused. */
#define H2K_ISO_MAX_FOLDER (4u << 20)

typedef struct _H2kIso H2kIso;

typedef struct
{
  char *name; /* valid UTF-8, without '/', not "." or ".." */
  gboolean is_folder;
  guint64 offset; /* bytes, in the image */
  guint64 size;   /* bytes; inside the image */
} H2kIsoEntry;

/* FILE, of which a reference is kept. Errors: H2K_ERROR_SOURCE; H2K_ERROR_FORMAT: it is no ISO. */
H2kIso *h2k_iso_open (H2kFile *file, GError **error);
void h2k_iso_free (H2kIso *iso);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kIso, h2k_iso_free)

/* The volume's identifier, "" when it has none; valid UTF-8, not escaped. */
const char *h2k_iso_label (const H2kIso *iso);
/* The top folder. */
const H2kIsoEntry *h2k_iso_root (const H2kIso *iso);

/* What is in FOLDER: H2kIsoEntry*; what is not read (see above) is left out. Errors:
 * H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
GPtrArray *h2k_iso_list (H2kIso *iso, const H2kIsoEntry *folder, GError **error);

/* The bytes of a file. Errors: H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
GBytes *h2k_iso_read (H2kIso *iso, guint64 offset, guint64 size, GError **error);
