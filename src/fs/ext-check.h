/* ext-check.h - the check of ext2/3/4: what its files share.
 *
 * ext-check.c looks at the groups and their bitmaps, ext-check-inode.c at the inodes,
 * ext-check-map.c at where their blocks lie, ext-check-dir.c at the directories, ext-check-index.c
 * at the hashes that large ones have. The order is e2fsck's:
 *
 *   groups ──► inodes: fields, attributes, blocks ──► bitmaps ──► directories ──► links
 *              └── once more for each further window of blocks ──┘
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/check.h"
#include "fs/ext.h"

/* Of an inode, in one byte: what it is, and how many of its links were not found yet. */
enum
{
  EXT_CHECK_TYPE = 0x07, /* EXT2_FT_*; 0: nothing that a name may lead to */
  EXT_CHECK_USED = 0x08,
  EXT_CHECK_LINKS = 0xf0,
  EXT_CHECK_LINKS_SHIFT = 4,
  EXT_CHECK_UNCOUNTED = 14, /* in place of the number: any is right */
  EXT_CHECK_MANY = 15,      /* it is in ExtCheck.links */
};

#define EXT_CHECK_DEPTH 6u /* levels of a tree of extents, the inode's own among them */

typedef struct
{
  guint32 ino;
  guint32 parent;  /* which directory has it; 0: none has been found */
  guint32 dotdot;  /* what ".." in it says; 0: nothing */
  guint32 visited; /* by the search for loops */
} ExtCheckDir;

/* A block of extended attributes, which several inodes may have. */
typedef struct
{
  guint32 ino; /* the first of them */
  guint32 owners, recorded;
  gboolean large; /* some values have inodes of their own */
} ExtCheckShared;

typedef struct
{
  ExtFs *ext;
  ext2_filsys fs;
  H2kFsCheck *result;
  GCancellable *cancellable;
  gboolean replayed; /* the journal held changes */
  gboolean stop;     /* so damaged that nothing more can be said */

  guint64 first, end; /* blocks */
  guint bits;         /* log2 of the blocks in a cluster */
  guint64 from, to;   /* clusters: the window */
  guint8 *taken;      /* a bit a cluster of the window */
  gboolean report;    /* the first window, in which all else about an inode is said */
  guint64 claimed;    /* blocks, in this window's pass; more than there are end it */
  guint64 tree_blocks;

  guint8 **inodes;                 /* by group, a byte an inode; NULL: none is in use */
  GHashTable *links;               /* inode -> links not found yet, negative: too many */
  GArray *dirs;                    /* ExtCheckDir, in the order of inodes */
  GHashTable *attribute_blocks;    /* block -> ExtCheckShared */
  guint8 *levels[EXT_CHECK_DEPTH]; /* a block each */
  guint8 *block;
} ExtCheck;

/* The check of FS, see check.h. */
gboolean h2k_ext_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error);

/* --- ext-check.c ------------------------------------------------------------------------------ */

/* Libext2fs's code ERR came up at WHAT: the disk's errors are errors (FALSE), all others findings.
 */
gboolean h2k_ext_check_failure (ExtCheck *c, errcode_t err, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);
/* Read BLOCK, which must lie inside the filesystem. *OK: it was read. FALSE is the disk's error. */
gboolean h2k_ext_check_read (ExtCheck *c, guint64 block, guint8 *data, gboolean *ok,
                             GError **error);
/* The byte of an inode; NULL: it is in a group that has none in use, or it cannot be. */
guint8 *h2k_ext_check_inode (ExtCheck *c, guint32 ino);
/* Something leads to INO. */
void h2k_ext_check_link (ExtCheck *c, guint32 ino);
/* INO, or what it claims, has COUNT clusters from FIRST on. FALSE: part of them is taken. */
gboolean h2k_ext_check_take (ExtCheck *c, guint64 first, guint64 count, guint32 ino);
static inline gboolean
h2k_ext_check_is_inside (const ExtCheck *c, guint64 block)
{
  return block >= c->first && block < c->end;
}

/* --- ext-check-inode.c ------------------------------------------------------------------------ */

/* Look at all the inodes; take their blocks. */
gboolean h2k_ext_check_inodes (ExtCheck *c, GError **error);

/* --- ext-check-map.c -------------------------------------------------------------------------- */

typedef struct _ExtMap ExtMap;
struct _ExtMap
{
  ExtCheck *c;
  guint32 ino;
  const struct ext2_inode_large *inode;
  gboolean quiet; /* say and take nothing */
  /* COUNT blocks of the file from LOGICAL on lie from PHYSICAL on. */
  void (*run) (ExtMap *map, guint64 logical, guint64 physical, guint64 count, gboolean written);
  gpointer data;

  guint64 clusters;       /* taken */
  gint64 last, last_data; /* logical, the last one and the last one with data; -1: none */
  guint64 previous;       /* physical */
};

/* Follow all of an inode's blocks. */
gboolean h2k_ext_check_map (ExtMap *map, GError **error);

/* --- ext-check-dir.c -------------------------------------------------------------------------- */

gboolean h2k_ext_check_dirs (ExtCheck *c, GError **error);

/* --- ext-check-index.c ------------------------------------------------------------------------ */

/* What was seen of a block of a directory. */
typedef struct
{
  guint64 physical; /* 0: a hole */
  guint32 min, max; /* the hashes of its names; MIN > MAX: there are none */
  gboolean referenced;
} ExtCheckLeaf;

/* How the names of a directory are hashed, from its first block. -1: not in a way that can be
 * checked, or it has no valid index. */
int h2k_ext_check_hash_version (ExtCheck *c, const struct ext2_inode_large *inode,
                                const guint8 *root);
/* Check the index of the directory INO with the blocks LEAVES (ExtCheckLeaf). */
gboolean h2k_ext_check_index (ExtCheck *c, guint32 ino, GArray *leaves, GError **error);
