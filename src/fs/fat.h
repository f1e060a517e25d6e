/* fat.h - the FAT driver: what its files share.
 *
 * fat.c opens and reads, fat-write.c changes, fat-dir.c knows directories, fat-name.c their names,
 * fat-chain.c the chains of clusters. fat-table.h is below them, fat-usage.c beside them.
 *
 * A change is made in memory first: the entries of the table, then the slots of a directory. When
 * nothing can fail any more but the disk it is written, in an order that loses clusters at worst:
 * what is referred to before what refers to it; what is given up after the last reference to it.
 * When a write fails those before it are undone. (If the disk does not even let us do that, a file
 * that was on its way to another directory has two names; without them it might have none.)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/fat-table.h"
#include "fs/fs.h"

extern const H2kFsOps h2k_fat_ops;

#define H2K_FAT_SLOT 32u /* bytes of a directory's entry */
#define H2K_FAT_MAX_SIZE G_MAXUINT32

/* Where a slot has what, and its attributes. */
enum
{
  SLOT_NAME = 0,
  SLOT_ATTRIBUTES = 11,
  SLOT_CASE = 12,
  SLOT_CREATED_TENTHS = 13,
  SLOT_CREATED = 14, /* time, then date */
  SLOT_ACCESSED = 18,
  SLOT_CLUSTER_HIGH = 20,
  SLOT_WRITTEN = 22,
  SLOT_CLUSTER_LOW = 26,
  SLOT_SIZE = 28,

  SLOT_DELETED = 0xe5,

  FAT_READ_ONLY = 0x01,
  FAT_LABEL = 0x08,
  FAT_DIRECTORY = 0x10,
  FAT_ARCHIVE = 0x20,
  FAT_LONG_NAME = 0x0f,
  FAT_ATTRIBUTES = 0x3f,
};

typedef struct _FatWindow FatWindow;

typedef struct
{
  H2kFs base;
  H2kFatLayout layout;
  gboolean left_clean; /* as the volume said when it was opened */
  gboolean marked;     /* as dirty, by us */
  gboolean failed;     /* a change was written in part */
  gboolean changed;

  /* fat-chain.c */
  GHashTable *windows; /* FatWindow by its index */
  FatWindow *window;   /* the one used last */
  guint64 clock;
  guint budget;         /* windows that may still be read by this operation */
  gint64 pending;       /* how many more clusters the pending changes leave free */
  gint64 free_clusters; /* counted; -1: not yet */
  gint64 info_free;     /* as FSInfo says; -1: nothing to be believed */
  guint64 next_free;    /* where the search for a free one begins */
  guint64 pending_next;
  GPtrArray *undo; /* FatOld: what this operation has overwritten, in the order of that */

  /* Where the last read of a file ended, so that the next one need not follow the chain again. */
  guint32 last_first, last_index, last_cluster;
} FatFs;

/* Set ERROR to "VOLUME: PATH: WHY" and return FALSE. */
gboolean h2k_fat_refuse (FatFs *fat, H2kError code, GError **error, const char *path,
                         const char *why);

/* --- fat-chain.c: clusters -------------------------------------------------------------------- */

typedef struct
{
  guint32 first, count; /* clusters */
} FatRun;

void h2k_fat_chains_init (FatFs *fat);
void h2k_fat_chains_clear (FatFs *fat);

/* Begin an operation: pending changes of a failed one are forgotten. */
void h2k_fat_begin (FatFs *fat);
/* The entry of CLUSTER, which must lie in the table. */
gboolean h2k_fat_get (FatFs *fat, guint32 cluster, guint32 *entry, GError **error);
/* *NEXT is 0 when CLUSTER is the last one of its chain; a link that leads nowhere is an error. */
gboolean h2k_fat_next (FatFs *fat, guint32 cluster, guint32 *next, GError **error);
/* Append the first MAX clusters of the chain that begins with FIRST (0: an empty one) to RUNS;
 * COUNT gets how many there were. */
gboolean h2k_fat_collect (FatFs *fat, guint32 first, guint64 max, GArray *runs, guint64 *count,
                          GError **error);
/* Put COUNT free clusters behind TAIL (0: a new chain), and append them to RUNS. Pending. */
gboolean h2k_fat_extend (FatFs *fat, guint32 tail, guint64 count, GArray *runs, GError **error);
/* Free all clusters of a chain but the first KEEP, which lie in RUNS with it. Pending. */
gboolean h2k_fat_cut (FatFs *fat, const GArray *runs, guint64 keep, GError **error);
/* Write what is pending to all the copies of the table. */
gboolean h2k_fat_commit (FatFs *fat, GError **error);
/* Write to what may be in use; what was there is kept until the next operation begins. */
gboolean h2k_fat_overwrite (FatFs *fat, guint64 offset, gsize length, const guint8 *data,
                            GError **error);
/* Put back what this operation has overwritten, the last first, as far as the disk lets us. */
void h2k_fat_undo (FatFs *fat);
/* The number of free clusters. */
gboolean h2k_fat_count_free (FatFs *fat, guint64 *count, GError **error);

typedef enum
{
  FAT_READ,
  FAT_WRITE,
  FAT_REPLACE, /* as h2k_fat_overwrite() */
  FAT_ZERO,
} FatTransfer;

/* Move LENGTH bytes from OFFSET of the clusters RUNS on. They must be as long as that. */
gboolean h2k_fat_transfer (FatFs *fat, FatTransfer what, const GArray *runs, guint64 offset,
                           guint64 length, guint8 *buffer, GError **error);
guint32 h2k_fat_last_of (const GArray *runs);

/* --- fat-name.c ------------------------------------------------------------------------------- */

#define H2K_FAT_MAX_UNITS 255u
#define H2K_FAT_NAME_BYTES (H2K_FAT_MAX_UNITS * 3 + 1)

/* UNITS as UTF-8; FALSE when they cannot be a name. */
gboolean h2k_fat_decode_long (const guint16 *units, guint n, char name[H2K_FAT_NAME_BYTES]);
/* The short name in a slot. */
void h2k_fat_decode_short (const guint8 *slot, char name[H2K_FAT_NAME_BYTES]);
/* Whether A and B are the same but for case. */
gboolean h2k_fat_same_name (const char *a, const char *b);
/* NAME in UTF-16. Returns why it is none for a new file, or NULL. */
const char *h2k_fat_encode_long (const char *name, guint16 units[H2K_FAT_MAX_UNITS], guint *n);
/* Make the 11 bytes of a short name for NAME. FALSE: they do not stand for it but with a number.
 * ATTEMPT counts the numbers from 1 on; 0: none. */
gboolean h2k_fat_make_short (const char *name, guint attempt, guint8 raw[11]);
/* Over the short name; it stands in the parts of the long one. */
guint8 h2k_fat_name_sum (const guint8 *raw);

/* --- fat-dir.c -------------------------------------------------------------------------------- */

typedef struct
{
  guint32 first;        /* cluster; 0: the root directory that is not a chain */
  GArray *runs;         /* FatRun */
  guint8 *slots;        /* zeros from the end on */
  guint n, end;         /* slots: that there are, before the end */
  guint from, to;       /* slots that were changed, and are to be written */
  guint64 new_clusters; /* that are not yet written: the last ones */
} FatDir;

/* A file or directory by its name. */
typedef struct
{
  FatDir *dir;       /* where its entry is, a reference; NULL: the root directory itself */
  guint first, slot; /* its slots: those of its long name and its own, the last one */
  guint8 raw[H2K_FAT_SLOT];
  char name[H2K_FAT_NAME_BYTES]; /* "" when it cannot be part of a path */
  char alias[H2K_FAT_NAME_BYTES];
} FatFile;

FatDir *h2k_fat_dir_load (FatFs *fat, guint32 first, GError **error);
FatDir *h2k_fat_dir_ref (FatDir *dir);
void h2k_fat_dir_unref (FatDir *dir);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (FatDir, h2k_fat_dir_unref)

void h2k_fat_file_clear (FatFile *file);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (FatFile, h2k_fat_file_clear)

/* The next one from the slot *AT on (FILE->dir is not set); FALSE at the end. */
gboolean h2k_fat_dir_next (const FatDir *dir, guint *at, FatFile *file);
/* Find NAME; FALSE when it is not there. */
gboolean h2k_fat_dir_find (FatDir *dir, const char *name, FatFile *file);
/* Where slot I lies on the volume. */
guint64 h2k_fat_dir_offset (const FatFs *fat, const FatDir *dir, guint i);
/* In memory: put RAW there under NAME, or free the slots of FILE. PATH is for messages. */
gboolean h2k_fat_dir_add (FatFs *fat, FatDir *dir, const char *path, const char *name,
                          const guint8 raw[H2K_FAT_SLOT], GError **error);
void h2k_fat_dir_remove (FatDir *dir, const FatFile *file);
/* In memory: replace the last slot of FILE by FILE->raw. */
void h2k_fat_dir_replace (const FatFile *file);
/* Write the clusters that were added, before the table; and the slots that were changed. */
gboolean h2k_fat_dir_write_new (FatFs *fat, FatDir *dir, GError **error);
gboolean h2k_fat_dir_write (FatFs *fat, FatDir *dir, GError **error);

/* --- fat.c ------------------------------------------------------------------------------------ */

gboolean h2k_fat_is_dir (const FatFile *file);
guint32 h2k_fat_first (const FatFs *fat, const FatFile *file);
guint32 h2k_fat_size (const FatFile *file);
gboolean h2k_fat_find (FatFs *fat, const char *path, FatFile *file, GError **error);
/* The directory that holds PATH's last component, which is returned in NAME. PATH "/" is an
 * error, and so is, when INSIDE is not 0, one that leads through the directory of that cluster. */
FatDir *h2k_fat_find_parent (FatFs *fat, const char *path, guint32 inside, const char **name,
                             GError **error);
/* The directory that FILE is. */
FatDir *h2k_fat_open_dir (FatFs *fat, const FatFile *file, const char *path, GError **error);

/* --- fat-write.c ------------------------------------------------------------------------------ */

gboolean h2k_fat_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data,
                        gsize length, GError **error);
gboolean h2k_fat_truncate (H2kFs *fs, const char *path, guint64 size, GError **error);
gboolean h2k_fat_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                         const char *target, GError **error);
gboolean h2k_fat_remove (H2kFs *fs, const char *path, GError **error);
gboolean h2k_fat_rename (H2kFs *fs, const char *from, const char *to, GError **error);
gboolean h2k_fat_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error);
gboolean h2k_fat_flush (H2kFs *fs, GError **error);
