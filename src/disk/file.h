/* file.h - where an image's bytes lie: a file or a block device of this host, a member of an
 * archive, or something on a server. Formats read their images through it and know nothing else
 * about where those are.
 *
 * Thread-safety: everything may be called by any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/disk.h"

/* What a kind of file implements. Ranges lie inside the file and are not empty. */
typedef struct
{
  /* Read exactly LENGTH bytes. Errors: H2K_ERROR_SOURCE. */
  gboolean (*pread) (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error);
  /* As in H2kDiskOps: what is a hole of the file itself. NULL: all of it is data. */
  gboolean (*extent) (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error);
  /* Where the bytes are when it is a regular file of this host. NULL: it is none. */
  gboolean (*stored) (H2kFile *file, guint64 offset, guint64 length, H2kStored *stored);
  /* A hint that the range is read soon. NULL: of no use. */
  void (*will_need) (H2kFile *file, guint64 offset, guint64 length);
  /* Free what the kind holds, not the H2kFile's own members. */
  void (*finalize) (H2kFile *file);
} H2kFileOps;

/* The part that every kind shares; its structure begins with it. Read-only for everybody else. */
struct _H2kFile
{
  const H2kFileOps *ops;
  gatomicrefcount ref_count;
  guint64 size;        /* bytes */
  guint32 sector_size; /* logical, of a device; 512 for a file */
  gboolean is_device;  /* a block device */
  guint64 dev, ino;    /* which file it is (a device: its own number, and 0) */
  const char *server;  /* what serves it ("nbd"), static; NULL: it is on this host */
  char *version;       /* on a server: what tells this content from another; NULL: nothing does */
  char *path;          /* as given; names in an image are relative to its folder. On a server: the
                        * URI as it may be shown, which opens nothing */
  char *name;          /* PATH, escaped for messages */
};

/* Open PATH, a regular file or a block device, for reading only; folders, FIFOs, sockets and
 * character devices are refused. Or open a URI ("nbd://host/export"): what has a scheme and "://"
 * is one, "./nbd://x" is a path. Errors: H2K_ERROR_SOURCE; of URIs also _USAGE, _UNSUPPORTED and
 * _TOOL. */
H2kFile *h2k_file_open (const char *path, GError **error);
/* Whether h2k_file_open() takes PATH for a URI. */
gboolean h2k_file_is_uri (const char *path);
/* The SIZE bytes of DATA, which are copied, as a file called PATH: for tests and fuzz targets. */
H2kFile *h2k_file_new_memory (const char *path, const void *data, gsize size);

H2kFile *h2k_file_ref (H2kFile *file);
void h2k_file_unref (H2kFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFile, h2k_file_unref)

/* For kinds: fill the shared part. */
void h2k_file_init (H2kFile *file, const H2kFileOps *ops, guint64 size, const char *path);

/* Read exactly LENGTH bytes at OFFSET into BUFFER. Errors: H2K_ERROR_SOURCE; H2K_ERROR_FORMAT when
 * the file ends before them, since offsets come from the image. */
gboolean h2k_file_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error);
/* The extent of the file that holds OFFSET (< size); never H2K_EXTENT_ZERO. */
gboolean h2k_file_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error);
/* As h2k_disk_stored(), of the bytes that lie inside the file. */
gboolean h2k_file_stored (H2kFile *file, guint64 offset, guint64 length, H2kStored *stored);
void h2k_file_will_need (H2kFile *file, guint64 offset, guint64 length);
