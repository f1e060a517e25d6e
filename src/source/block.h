/* block.h - one look at all block devices of a host, and how they lie on each other.
 *
 * For attached.c. ROOT as in attached.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "source/attached.h"

typedef struct BlockNode BlockNode;
struct BlockNode
{
  char *name; /* the kernel's: "sda1", "dm-0" */
  char *dir;  /* its folder in sysfs, with ROOT */
  dev_t dev;
  BlockNode *whole;   /* of a partition: the disk */
  guint partition;    /* its number */
  GPtrArray *parts;   /* BlockNode *, by number */
  GPtrArray *holders; /* BlockNode *: what lies on it, loop devices included */
  GPtrArray *slaves;  /* BlockNode *: what it lies on */
  GPtrArray *mounts;  /* char *: where it is mounted, escaped */
  gboolean is_swap;
  char *dm_name, *dm_uuid; /* of the device mapper; else NULL */
};

typedef struct
{
  GPtrArray *nodes;    /* BlockNode *: disks and partitions */
  GHashTable *by_name; /* char * to BlockNode * */
  GHashTable *by_dev;  /* guint64 * to BlockNode * */
  char *root;
} BlockHost;

/* Errors: H2K_ERROR_SOURCE (no sysfs). */
BlockHost *h2k_block_host_new (const char *root, GError **error);
void h2k_block_host_free (BlockHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BlockHost, h2k_block_host_free)

/* NULL: there is none. */
BlockNode *h2k_block_find_dev (const BlockHost *host, dev_t dev);

/* "/dev/cciss/c0d0" of "cciss!c0d0". The caller's. */
char *h2k_block_path (const BlockNode *node);

/* What the file NAME in the folder DIR says, without the blanks around it; NULL: there is none, or
 * it is empty. The caller's. */
char *h2k_block_attribute (const char *dir, const char *name);
guint64 h2k_block_number (const char *dir, const char *name, guint64 otherwise);

/* Who uses NODE itself and what is stacked on it, not its partitions; NULL: nobody. */
H2kAttachedUser *h2k_block_user (const BlockNode *node);
/* The same of the loop devices that the file with DEV and INO is attached as; not of those that
 * only read it. */
H2kAttachedUser *h2k_block_file_user (const BlockHost *host, const char *path, dev_t dev,
                                      ino_t ino);

H2kAttachedUser *h2k_attached_user_new (const char *device);
void h2k_attached_user_free (H2kAttachedUser *user);
/* Set the text from the rest. */
void h2k_attached_user_finish (H2kAttachedUser *user);
