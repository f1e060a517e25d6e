/* images.h - filesystem images made by the real tools, for the tests of fs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

/* CALL, which names "&error", must succeed; or fail with ERROR_CODE of H2K_ERROR. */
#define CHECK(call)                                                                                \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_autoptr (GError) error = NULL;                                                               \
    gboolean ok_ = call;                                                                           \
    g_assert_no_error (error);                                                                     \
    g_assert_true (ok_);                                                                           \
  }                                                                                                \
  G_STMT_END

#define FAILS(call, error_code)                                                                    \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_autoptr (GError) error = NULL;                                                               \
    g_assert_false (call);                                                                         \
    g_assert_error (error, H2K_ERROR, error_code);                                                 \
  }                                                                                                \
  G_STMT_END

/* A directory for this test program, removed at its end. */
const char *image_dir (void);
void image_cleanup (void);

/* Run a command line (quoted as in a shell, no shell involved; "@" stands for image_dir());
 * returns its exit status, OUTPUT (may be NULL) gets what it said. -1: no such program. */
int image_run (char **output, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* The same for what must succeed. */
void image_must_run (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* Whether PROGRAM is installed; marks the test as skipped when it is not. */
gboolean image_have (const char *program);

/* The file NAME of image_dir(), and the filesystem of type TYPE on a disk. */
H2kDisk *image_open (const char *name);
H2kFs *image_open_fs (H2kDisk *disk, const char *type);
/* Make the file PATH consist of TEXT, or begin with it. */
void image_put (H2kFs *fs, const char *path, const char *text);
/* The file NAME of image_dir() in memory, and back. */
H2kDisk *image_load (const char *name);
void image_save (H2kDisk *disk, const char *name);

/* `mke2fs OPTIONS` with the files of "@/tree" when POPULATED. */
H2kDisk *image_mke2fs (const char *options, const char *size, gboolean populated);
/* Make "@/tree" with one of everything in it. */
void image_make_tree (void);
/* Fail unless `e2fsck -fn` finds nothing to complain about. */
void image_assert_clean (H2kDisk *disk);
/* Fail unless debugfs, another reader, sees the files of the filesystem on DISK as FS does. */
void image_assert_same_tree (H2kDisk *disk, H2kFs *fs);

/* Bytes of VIEW that are BYTE. */
guint64 image_count_bytes (H2kDisk *view, guint8 byte);
#define IMAGE_SWAP_REST 8192u
/* Make "@/tree" with swap files, and what only looks like them. */
void image_make_swap_files (void);
/* Fail unless VIEW, which shows a filesystem with these, has what was swapped out; or has not. But
 * for IMAGE_SWAP_REST bytes of each, for headers and alignment. */
void image_assert_swap_files (H2kDisk *view, gboolean dropped);

/* A disk that hands everything through to another one until the FAIL_AT-th request (0: never). */
H2kDisk *faulty_disk_new (H2kDisk *disk, guint fail_at);
guint faulty_disk_requests (H2kDisk *disk);
/* The same that counts writes alone; with ONCE it works again behind the one that failed. */
H2kDisk *faulty_disk_new_for_writes (H2kDisk *disk, guint fail_at, gboolean once);
