/* disk.h - random-access blocks with extents: the view that everything else is made of.
 *
 * An H2kDisk is a source image (opened read-only), a copy-on-write overlay over one, or a part of
 * another disk. Offsets and lengths are bytes; any alignment is accepted.
 *
 * Thread-safety: h2k_disk_pread() and h2k_disk_extent() may be called by any number of threads at
 * once. h2k_disk_pwrite(), _zero() and _flush() may be called by one thread at a time, while no
 * other thread uses the disk, unless the backend says otherwise (the overlay serialises itself).
 *
 * A new format is one file and one line in the table of disk.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct _H2kDisk H2kDisk;
typedef struct _H2kFile H2kFile;         /* file.h */
typedef struct _H2kCheck H2kCheck;       /* check.h */
typedef struct _H2kImageKey H2kImageKey; /* image-key.h */

typedef enum
{
  H2K_EXTENT_DATA,        /* has to be read to know what it holds */
  H2K_EXTENT_ZERO,        /* reads as zeros and was written so */
  H2K_EXTENT_UNALLOCATED, /* reads as zeros and was never written, or nobody uses it */
} H2kExtentKind;

typedef struct
{
  guint64 offset;
  guint64 length; /* > 0 */
  H2kExtentKind kind;
} H2kExtent;

/* Bytes of a disk as they lie in a regular file of this host. */
typedef struct
{
  int fd;         /* the disk's, open for reading */
  guint64 offset; /* in the file */
  guint64 length; /* > 0 */
} H2kStored;

/* A state of the disk that an image keeps besides the current one. */
typedef struct
{
  char *id, *name;             /* as the image has them: of the guest's choosing, maybe not UTF-8 */
  guint64 vm_state_size;       /* bytes; 0: of the disk alone */
  guint64 disk_size;           /* bytes */
  guint32 date_sec, date_nsec; /* since 1970 */
  guint64 vm_clock_nsec;
  gint64 icount; /* instructions that the VM had run; -1: not recorded */
} H2kSnapshot;

/* What a backend implements. Arguments are checked by the h2k_disk_*() wrappers below: ranges lie
 * inside the disk and are not empty. */
typedef struct
{
  /* Read exactly LENGTH bytes. Errors: H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
  gboolean (*pread) (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error);
  /* The extent that holds OFFSET: EXTENT's offset is OFFSET, its length as long as is cheap to
   * find out, never past the disk's end. NULL: all of it is data. */
  gboolean (*extent) (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error);
  /* The same of what this image has itself; where it has nothing and the backing file's content is
   * seen, the extent is unallocated. NULL: there is no telling. */
  gboolean (*own_extent) (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error);
  /* Where the bytes from OFFSET on lie, at most LENGTH. FALSE: not as they are, or not in a file of
   * this host. NULL: never. */
  gboolean (*stored) (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored);
  /* NULL for what cannot be written. */
  gboolean (*pwrite) (H2kDisk *disk, guint64 offset, gsize length, const void *buffer,
                      GError **error);
  /* Make the range read as zeros. NULL: done with pwrite. */
  gboolean (*zero) (H2kDisk *disk, guint64 offset, guint64 length, GError **error);
  /* NULL: nothing to flush. */
  gboolean (*flush) (H2kDisk *disk, GError **error);
  /* H2kSnapshot *: the snapshots inside the image. NULL: there cannot be any. */
  GPtrArray *(*snapshots) (H2kDisk *disk, GError **error);
  /* Free what the backend holds, not the H2kDisk's own members. */
  void (*finalize) (H2kDisk *disk);
} H2kDiskOps;

/* The part of a disk that every backend shares; a backend's structure begins with it. Read-only
 * for everybody but the backend. */
struct _H2kDisk
{
  const H2kDiskOps *ops;
  gatomicrefcount ref_count;
  guint64 size;        /* bytes */
  guint32 sector_size; /* logical sector size, 512 or 4096 */
  char *format;        /* "raw", "vmdk", "qcow2", "overlay", "slice", "memory", "qemu:qed" */
  char *subformat;     /* the format's own word, for example "streamOptimized"; may be NULL */
  char *name;          /* path or description, for messages */
  GPtrArray *files;    /* char *: every file of this host that is read, first the one named by the
                        * user; empty when that is on a server */
  char *origin;        /* of an image on a server: its name and version, never the same for what may
                        * be other content; else NULL */
  char *version;       /* of an image on a server: length and what else tells its content from
                        * another, the same as long as it is the same; else NULL */
  H2kDisk *backing;    /* the parent in a chain or under an overlay, a reference; may be NULL */
  guint64 paths;       /* in how many ways it comes down to disks that lie on no others; at most
                        * G_MAXUINT32; 0: it is one of those */
};

/* A format's entry in the table of disk.c. */
typedef struct
{
  const char *name;
  /* How sure the format is, 0 (not mine) to 100, from the file's first bytes (up to 64 KiB) and
   * its name. */
  int (*probe) (const guint8 *head, gsize length, const char *path);
  /* The image in FILE; the disk keeps a reference of its own. */
  H2kDisk *(*open) (H2kFile *file, GError **error);
  /* Whether the image in FILE is consistent; see check.h. NULL: cannot be told. */
  gboolean (*check) (H2kFile *file, H2kCheck *check, GError **error);
  /* Whether a file that starts like none is of this format by its last 512 bytes. NULL: never. */
  gboolean (*probe_end) (const guint8 *end, gsize length);
} H2kDiskFormat;

/* Open PATH, a file or a URI (file.h), read-only. FORMAT is NULL (found by content; raw when
 * nothing else fits) or a name of the table. Chains and extents are opened too. Errors:
 * H2K_ERROR_SOURCE (missing, unreadable), _FORMAT (corrupt, truncated, a broken chain),
 * _UNSUPPORTED (encrypted, unknown features or format name), _USAGE (a malformed URI), _TOOL (a
 * format that needs qemu-nbd, which is missing). */
H2kDisk *h2k_disk_open (const char *path, const char *format, GError **error);
/* The same, with KEY (may be NULL) for what of the chain is encrypted. Errors: H2K_ERROR_SOURCE,
 * too, when it does not open it. */
H2kDisk *h2k_disk_open_with (const char *path, const char *format, H2kImageKey *key,
                             GError **error);
/* The same for the image in FILE (a member of an archive). */
H2kDisk *h2k_disk_open_file (H2kFile *file, const char *format, GError **error);

/* A name that an image has for the file below it, and that is no file's, is not followed: a guest
 * may have written it. A finder says which ones are known all the same: the disk that the image at
 * PATH means by NAME, a reference; NULL without an error: it does not know, either. It opens disks
 * as if no other one were being opened. */
typedef H2kDisk *(*H2kBackingFinder) (const char *path, const char *name, GError **error);
/* Have FINDER asked, one for the whole process; before any disk is opened. */
void h2k_disk_set_backing_finder (H2kBackingFinder finder);

H2kDisk *h2k_disk_ref (H2kDisk *disk);
void h2k_disk_unref (H2kDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDisk, h2k_disk_unref)

/* For backends: fill the shared part. SIZE must fit in 63 bits. */
void h2k_disk_init (H2kDisk *disk, const H2kDiskOps *ops, guint64 size, const char *format,
                    const char *name);

/* Read exactly LENGTH bytes at OFFSET into BUFFER. Errors: H2K_ERROR_SOURCE, _FORMAT; a range past
 * the end is H2K_ERROR_FORMAT, since offsets come from the image. */
gboolean h2k_disk_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error);
/* Errors: those of pread (an overlay reads around partial clusters), H2K_ERROR_NO_SPACE. */
gboolean h2k_disk_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer,
                          GError **error);
gboolean h2k_disk_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error);
gboolean h2k_disk_flush (H2kDisk *disk, GError **error);
/* The extent that holds OFFSET (< size), cut off at LIMIT (> OFFSET). */
gboolean h2k_disk_extent (H2kDisk *disk, guint64 offset, guint64 limit, H2kExtent *extent,
                          GError **error);
/* The same of what the image has itself: unallocated is where the content is its backing file's.
 * Errors: as above; H2K_ERROR_UNSUPPORTED for what is no qcow2. */
gboolean h2k_disk_own_extent (H2kDisk *disk, guint64 offset, guint64 limit, H2kExtent *extent,
                              GError **error);
/* Where the LENGTH (> 0) bytes at OFFSET lie as they are in a file of this host: the first ones of
 * them, STORED's length says how many. FALSE: nowhere. What is there is the disk's content only
 * where the extents have data. */
gboolean h2k_disk_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored);
gboolean h2k_disk_is_writable (H2kDisk *disk);
/* H2kSnapshot *: the snapshots inside the image, the caller's; empty for most formats. Errors:
 * H2K_ERROR_FORMAT, _SOURCE. */
GPtrArray *h2k_disk_snapshots (H2kDisk *disk, GError **error);

/* A part of PARENT (a partition): a disk of LENGTH bytes that starts at OFFSET. Keeps a reference.
 * Writable when the parent is. Errors: H2K_ERROR_FORMAT when it does not fit into PARENT. */
H2kDisk *h2k_slice_new (H2kDisk *parent, guint64 offset, guint64 length, const char *name,
                        GError **error);

/* A writable sparse disk in memory, all zeros: the smallest backend. */
H2kDisk *h2k_memory_disk_new (guint64 size);

/* A copy-on-write layer over BASE, which is never written. Changes are tracked by blocks of 4 KiB,
 * so that writing whole ones reads nothing from BASE, and stored by clusters of 64 KiB: in memory
 * up to MEMORY_LIMIT bytes, then in an unlinked file in TEMP_DIR (NULL: $TMPDIR or /var/tmp),
 * created on first need. Zeros take no place. Safe for use by several threads. Errors: none now;
 * pwrite can fail with H2K_ERROR_NO_SPACE, or H2K_ERROR_OUTPUT when TEMP_DIR cannot be written. */
H2kDisk *h2k_overlay_new (H2kDisk *base, const char *temp_dir, guint64 memory_limit);
/* The first changed range at or after OFFSET; FALSE at the end. Whole clusters, except at the
 * disk's end and at OFFSET itself. A range is H2K_EXTENT_ZERO when all of it reads as zeros, else
 * H2K_EXTENT_DATA. */
gboolean h2k_overlay_next_change (H2kDisk *overlay, guint64 offset, H2kExtent *extent);
/* Bytes of changed clusters held; those that are only zeros do not count. */
guint64 h2k_overlay_bytes (H2kDisk *overlay);
/* Forget every change: the disk reads as BASE again. */
void h2k_overlay_reset (H2kDisk *overlay);
