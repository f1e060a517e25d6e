/* tree.h - the file tree of one guest: its filesystems mounted into each other.
 *
 * Paths are the guest's own, absolute; symbolic links are resolved inside the tree, as after a
 * chroot: nothing leads out of it. At most 40 links are followed. "nofollow" functions do not
 * follow the last component. Missing files give H2K_ERROR_FAILED with a message that says so, or
 * no error where the comment says so, links that lead in circles and the reading of what is no
 * regular file as well; everything else H2K_ERROR_FILESYSTEM.
 *
 * Thread-safety: one thread at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fs.h"

typedef struct _H2kTree H2kTree;

H2kTree *h2k_tree_new (void);
void h2k_tree_free (H2kTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kTree, h2k_tree_free)

/* Mount FS (not owned, must outlive the tree) at PATH; "/" comes first. */
void h2k_tree_mount (H2kTree *tree, const char *path, H2kFs *fs);

/* The filesystem that was mounted as the NUMBERth one (from 0) and where, TREE's; NULL: there are
 * not so many. */
H2kFs *h2k_tree_get_mount (H2kTree *tree, guint number, const char **path);

/* What is at PATH, a directory, as a filesystem of its own; the caller's. Errors: as of
 * h2k_tree_stat(). */
H2kFs *h2k_tree_subtree (H2kTree *tree, const char *path, GError **error);

/* Where PATH leads: the guest path with every link resolved (the last one too unless NOFOLLOW),
 * NULL without an error when a component is missing. The caller's. */
char *h2k_tree_resolve (H2kTree *tree, const char *path, gboolean nofollow);

/* Which of the mounts, counted as they were mounted, holds what PATH leads to. Errors: as of
 * h2k_tree_stat(). */
gboolean h2k_tree_find_mount (H2kTree *tree, const char *path, gboolean nofollow, guint *number,
                              GError **error);
gboolean h2k_tree_exists (H2kTree *tree, const char *path); /* follows links */
gboolean h2k_tree_is_dir (H2kTree *tree, const char *path);
gboolean h2k_tree_is_file (H2kTree *tree, const char *path);
gboolean h2k_tree_is_link (H2kTree *tree, const char *path); /* the last component itself */
gboolean h2k_tree_stat (H2kTree *tree, const char *path, H2kStat *st, GError **error);
gboolean h2k_tree_lstat (H2kTree *tree, const char *path, H2kStat *st, GError **error);
char *h2k_tree_readlink (H2kTree *tree, const char *path, GError **error);

/* Names in a directory, sorted; an empty array when it is missing. char *, the caller's. */
GPtrArray *h2k_tree_list (H2kTree *tree, const char *path);
/* The same; a directory that is missing or cannot be read is an error. */
GPtrArray *h2k_tree_read_dir (H2kTree *tree, const char *path, GError **error);
/* Paths that match PATTERN, in which '*' and '?' stand for parts of one component; sorted. */
GPtrArray *h2k_tree_glob (H2kTree *tree, const char *pattern);

/* The whole file. Larger than LIMIT bytes is H2K_ERROR_FILESYSTEM (0: 16 MiB). */
GBytes *h2k_tree_read (H2kTree *tree, const char *path, gsize limit, GError **error);
/* The same, NULL without an error when the file is missing. */
GBytes *h2k_tree_read_optional (H2kTree *tree, const char *path, gsize limit, GError **error);
GBytes *h2k_tree_read_range (H2kTree *tree, const char *path, guint64 offset, gsize length,
                             GError **error);

/* Replace or create PATH. An existing file keeps owner, mode, xattrs and labels; a new one is
 * root's with MODE, in directories that are made as needed (0755), and inherits its directory's
 * SELinux label. Links are followed. */
gboolean h2k_tree_write (H2kTree *tree, const char *path, GBytes *data, guint32 mode,
                         GError **error);
gboolean h2k_tree_append (H2kTree *tree, const char *path, GBytes *data, GError **error);
/* Into the existing file PATH, which grows past its end. */
gboolean h2k_tree_pwrite (H2kTree *tree, const char *path, guint64 offset, gconstpointer data,
                          gsize length, GError **error);
gboolean h2k_tree_mkdir (H2kTree *tree, const char *path, guint32 mode, GError **error);
/* Replaces a link or file that stands at PATH itself. */
gboolean h2k_tree_symlink (H2kTree *tree, const char *target, const char *path, GError **error);
/* Remove the name itself, not what it links to. Missing is no error. */
gboolean h2k_tree_remove (H2kTree *tree, const char *path, GError **error);
gboolean h2k_tree_rename (H2kTree *tree, const char *from, const char *to, GError **error);
GBytes *h2k_tree_get_xattr (H2kTree *tree, const char *path, const char *name, GError **error);

/* Bytes free on the filesystem that holds PATH. */
guint64 h2k_tree_free_space (H2kTree *tree, const char *path);
/* Flush every filesystem. */
gboolean h2k_tree_flush (H2kTree *tree, GError **error);
