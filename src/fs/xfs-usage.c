/* xfs-usage.c - which blocks of an XFS filesystem are in use.
 *
 * After "XFS Algorithms & Data Structures", 3rd edition, and fs/xfs/libxfs/xfs_format.h of Linux.
 * An allocation group's free extents are the records of a btree sorted by block. The whole tree of
 * a group is checked before a word of it is believed: checksums, order, and the group's own counts
 * of free blocks and of the longest extent. A group that fails counts as full. Blocks that a group
 * keeps for its btrees to grow are not in the tree; they stay in use.
 *
 * The realtime section and an external log are other volumes. Without the log nobody knows whether
 * the trees are up to date, so a filesystem with an external one is copied whole.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "fs/xfs.h"

/* Extents of one group that are held in memory, and groups. Where a group has more, its tree is
 * read again from the block asked for. */
#define MAX_EXTENTS (1u << 17)
#define N_WINDOWS 4u
#define MAX_LEVELS 9u
#define NO_GROUP G_MAXUINT64

/* struct xfs_agf */
enum
{
  AGF_VERSION = 4,
  AGF_SEQNO = 8,
  AGF_LENGTH = 12,
  AGF_BNO_ROOT = 16,
  AGF_BNO_LEVEL = 28,
  AGF_FREEBLKS = 52,
  AGF_LONGEST = 56,
  AGF_UUID = 64,
  AGF_CRC = 216,
};

/* struct xfs_btree_block, short form; RECORDS is where they begin without and with a checksum */
enum
{
  BB_LEVEL = 4,
  BB_NUMRECS = 6,
  BB_RECORDS = 16,
  BB_BLKNO = 16,
  BB_UUID = 32,
  BB_OWNER = 48,
  BB_CRC = 52,
  BB_CRC_RECORDS = 56,
};

typedef struct
{
  guint32 start, count; /* blocks of the group */
} Free;

/* What is known of one group. */
typedef struct
{
  guint64 ag;
  guint64 last_used; /* the clock's value then */
  gboolean trusted;  /* FALSE: the whole group is in use */
  guint32 from, to;  /* the blocks that EXTENTS tells of */
  GArray *extents;   /* Free, by start */
} Window;

typedef struct
{
  H2kUsage base;
  H2kXfsLayout layout;
  guint64 clock;
  Window windows[N_WINDOWS];
  GArray *swap; /* H2kExtent: what of the used blocks is dropped; sorted */
} XfsUsage;

/* --- the tree of free extents -------------------------------------------------------------------
 */

typedef struct
{
  guint8 *data;      /* a block; NULL: not yet needed */
  guint next, count; /* of its records or children */
} Node;

/* Goes through the records of a group's tree in order. */
typedef struct
{
  const XfsUsage *xfs;
  guint64 ag;
  guint32 length; /* of the group, blocks */
  guint32 root;
  guint levels;
  guint at;      /* the level, 0: a leaf */
  guint64 after; /* where the last record ended */
  Node nodes[MAX_LEVELS];
} Walk;

typedef enum
{
  STEP_RECORD,
  STEP_END,
  STEP_BAD,    /* the tree cannot be believed */
  STEP_FAILED, /* the disk: an error is set */
} Step;

static guint
header_size (const XfsUsage *xfs)
{
  return xfs->layout.crc ? BB_CRC_RECORDS : BB_RECORDS;
}

static guint
max_records (const XfsUsage *xfs, guint level)
{
  return ((1u << xfs->layout.block_log) - header_size (xfs)) / (level ? 12 : 8);
}

static gboolean
node_is_good (const Walk *walk, const guint8 *data, guint level, guint32 block)
{
  const XfsUsage *xfs = walk->xfs;
  guint count = h2k_be16 (data + BB_NUMRECS);
  gboolean is_root = level + 1 == walk->levels;

  if (h2k_be16 (data + BB_LEVEL) != level || count > max_records (xfs, level)
      || (count == 0 && !(is_root && level == 0)))
    return FALSE;
  if (!xfs->layout.crc)
    return memcmp (data, "ABTB", 4) == 0;
  return memcmp (data, "AB3B", 4) == 0
         && h2k_be64 (data + BB_BLKNO) == h2k_xfs_offset (&xfs->layout, walk->ag, block) / 512
         && h2k_be32 (data + BB_OWNER) == walk->ag
         && memcmp (data + BB_UUID, xfs->layout.uuid, 16) == 0
         && h2k_xfs_crc_is_right (data, (gsize)1 << xfs->layout.block_log, BB_CRC);
}

/* Read BLOCK of the group as the walk's node of LEVEL. */
static Step
enter (Walk *walk, guint level, guint32 block, GError **error)
{
  const XfsUsage *xfs = walk->xfs;
  Node *node = &walk->nodes[level];
  gsize size = (gsize)1 << xfs->layout.block_log;

  if (block >= walk->length)
    return STEP_BAD;
  if (!node->data)
    node->data = g_malloc (size);
  if (!h2k_disk_pread (xfs->base.volume, h2k_xfs_offset (&xfs->layout, walk->ag, block), size,
                       node->data, error))
    return STEP_FAILED;
  if (!node_is_good (walk, node->data, level, block))
    return STEP_BAD;
  node->next = 0;
  node->count = h2k_be16 (node->data + BB_NUMRECS);
  walk->at = level;
  return STEP_RECORD;
}

/* The first block of record or key I. */
static guint32
start_of (const Walk *walk, const Node *node, guint i)
{
  return h2k_be32 (node->data + header_size (walk->xfs) + (gsize)i * 8);
}

/* Go from the node at AT, whose next child it is, down by one. */
static Step
descend (Walk *walk, GError **error)
{
  Node *node = &walk->nodes[walk->at];
  guint i = node->next++;
  guint32 key = start_of (walk, node, i);
  gsize pointers = header_size (walk->xfs) + (gsize)max_records (walk->xfs, walk->at) * 8;
  guint32 child = h2k_be32 (node->data + pointers + (gsize)i * 4);
  Step step = enter (walk, walk->at - 1, child, error);

  /* A key is the first one below it. */
  if (step == STEP_RECORD && start_of (walk, &walk->nodes[walk->at], 0) != key)
    return STEP_BAD;
  return step;
}

/* Begin with the leaf that would hold BLOCK. */
static Step
walk_begin (Walk *walk, guint32 block, GError **error)
{
  Step step = enter (walk, walk->levels - 1, walk->root, error);

  while (step == STEP_RECORD && walk->at > 0)
    {
      Node *node = &walk->nodes[walk->at];
      while (node->next + 1 < node->count && start_of (walk, node, node->next + 1) <= block)
        node->next++;
      step = descend (walk, error);
    }
  return step;
}

static Step
walk_next (Walk *walk, Free *extent, GError **error)
{
  const Node *leaf;

  while (walk->nodes[walk->at].next == walk->nodes[walk->at].count)
    if (++walk->at == walk->levels)
      return STEP_END;
  while (walk->at > 0)
    {
      Step step = descend (walk, error);
      if (step != STEP_RECORD)
        return step;
    }
  leaf = &walk->nodes[0];
  extent->start = start_of (walk, leaf, leaf->next);
  extent->count = h2k_be32 (leaf->data + header_size (walk->xfs) + (gsize)leaf->next * 8 + 4);
  walk->nodes[0].next++;
  if (extent->start < walk->after || extent->count == 0 || extent->start >= walk->length
      || extent->count > walk->length - extent->start)
    return STEP_BAD;
  walk->after = (guint64)extent->start + extent->count;
  return STEP_RECORD;
}

static void
walk_clear (Walk *walk)
{
  for (guint i = 0; i < MAX_LEVELS; i++)
    g_free (walk->nodes[i].data);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Walk, walk_clear)

/* --- groups -------------------------------------------------------------------------------------
 */

/* Whether something that is never free would be: the group's headers, or the log. */
static gboolean
is_impossible (const XfsUsage *xfs, guint64 ag, const Free *extent)
{
  guint64 from = h2k_xfs_offset (&xfs->layout, ag, extent->start);
  guint64 headers = (4ull * xfs->layout.sector_size + (1u << xfs->layout.block_log) - 1)
                    >> xfs->layout.block_log;

  return extent->start < headers
         || (xfs->layout.log && from < xfs->layout.log + xfs->layout.log_size
             && from + ((guint64)extent->count << xfs->layout.block_log) > xfs->layout.log);
}

static void
keep (Window *window, guint32 block, const Free *extent)
{
  if ((guint64)extent->start + extent->count <= block || window->extents->len == MAX_EXTENTS)
    return;
  g_array_append_val (window->extents, *extent);
  if (window->extents->len == MAX_EXTENTS)
    window->to = extent->start + extent->count;
}

/* Go through the whole tree, and keep in WINDOW what lies at BLOCK and behind. */
static Step
check_tree (Walk *walk, const guint8 *agf, Window *window, guint32 block, GError **error)
{
  guint64 sum = 0;
  guint32 longest = 0;
  Free extent;
  Step step = walk_begin (walk, 0, error);

  while (step == STEP_RECORD && (step = walk_next (walk, &extent, error)) == STEP_RECORD)
    {
      if (is_impossible (walk->xfs, walk->ag, &extent))
        return STEP_BAD;
      sum += extent.count;
      longest = MAX (longest, extent.count);
      keep (window, block, &extent);
    }
  if (step == STEP_END
      && (sum != h2k_be32 (agf + AGF_FREEBLKS) || longest != h2k_be32 (agf + AGF_LONGEST)))
    return STEP_BAD;
  return step;
}

/* Keep in WINDOW what lies at BLOCK and behind, of a tree that has been checked. */
static Step
read_tree (Walk *walk, Window *window, guint32 block, GError **error)
{
  Free extent;
  Step step = walk_begin (walk, block, error);

  while (step == STEP_RECORD && window->extents->len < MAX_EXTENTS
         && (step = walk_next (walk, &extent, error)) == STEP_RECORD)
    keep (window, block, &extent);
  return step == STEP_RECORD ? STEP_END : step;
}

static gboolean
agf_is_good (const XfsUsage *xfs, guint64 ag, const guint8 *agf)
{
  guint32 levels = h2k_be32 (agf + AGF_BNO_LEVEL);

  return memcmp (agf, "XAGF", 4) == 0 && h2k_be32 (agf + AGF_VERSION) == 1
         && h2k_be32 (agf + AGF_SEQNO) == ag
         && h2k_be32 (agf + AGF_LENGTH) == h2k_xfs_ag_length (&xfs->layout, ag) && levels >= 1
         && levels <= MAX_LEVELS
         && (!xfs->layout.crc
             || (memcmp (agf + AGF_UUID, xfs->layout.uuid, 16) == 0
                 && h2k_xfs_crc_is_right (agf, xfs->layout.sector_size, AGF_CRC)));
}

/* Fill WINDOW with what is known of group AG at BLOCK and behind. CHECKED: its tree has been gone
 * through already. */
static gboolean
load (const XfsUsage *xfs, Window *window, guint64 ag, guint32 block, gboolean checked,
      GError **error)
{
  g_autofree guint8 *agf = g_malloc (xfs->layout.sector_size);
  g_auto (Walk) walk = {.xfs = xfs, .ag = ag, .length = h2k_xfs_ag_length (&xfs->layout, ag)};
  Step step = STEP_BAD;

  window->ag = NO_GROUP;
  window->from = block;
  window->to = walk.length;
  g_array_set_size (window->extents, 0);
  if (!h2k_disk_pread (xfs->base.volume,
                       h2k_xfs_offset (&xfs->layout, ag, 0) + xfs->layout.sector_size,
                       xfs->layout.sector_size, agf, error))
    return FALSE;
  if (agf_is_good (xfs, ag, agf))
    {
      walk.root = h2k_be32 (agf + AGF_BNO_ROOT);
      walk.levels = h2k_be32 (agf + AGF_BNO_LEVEL);
      step = checked ? read_tree (&walk, window, block, error)
                     : check_tree (&walk, agf, window, block, error);
    }
  if (step == STEP_FAILED)
    return FALSE;
  window->trusted = step == STEP_END;
  if (!window->trusted)
    {
      g_array_set_size (window->extents, 0);
      window->from = 0;
      window->to = walk.length;
      g_info ("%s: the free space of allocation group %" G_GUINT64_FORMAT
              " is damaged: all of the group counts as in use",
              xfs->base.volume->name, ag);
    }
  window->ag = ag;
  return TRUE;
}

static Window *
get_window (XfsUsage *xfs, guint64 ag, guint32 block, GError **error)
{
  Window *window = &xfs->windows[0];
  gboolean known = FALSE;

  for (guint i = 0; i < N_WINDOWS && !known; i++)
    {
      Window *other = &xfs->windows[i];
      known = other->ag == ag;
      if (known || other->last_used < window->last_used)
        window = other;
    }
  window->last_used = ++xfs->clock;
  if (known && block >= window->from && block < window->to)
    return window;
  return load (xfs, window, ag, block, known && window->trusted, error) ? window : NULL;
}

/* The first extent that ends behind BLOCK, or NULL. */
static const Free *
find_extent (const Window *window, guint32 block)
{
  guint low = 0, high = window->extents->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      const Free *extent = &g_array_index (window->extents, Free, middle);
      if ((guint64)extent->start + extent->count <= block)
        low = middle + 1;
      else
        high = middle;
    }
  return low < window->extents->len ? &g_array_index (window->extents, Free, low) : NULL;
}

static gboolean
xfs_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  XfsUsage *xfs = (XfsUsage *)base;
  guint64 number = offset >> xfs->layout.block_log, ag = number / xfs->layout.ag_blocks;
  guint32 block = (guint32)(number % xfs->layout.ag_blocks), end;
  const Window *window;
  const Free *found;

  extent->offset = offset;
  extent->kind = H2K_EXTENT_DATA;
  if (number >= xfs->layout.blocks)
    {
      extent->length = base->volume->size - offset;
      return TRUE;
    }
  window = get_window (xfs, ag, block, error);
  if (!window)
    return FALSE;
  found = find_extent (window, block);
  end = window->to;
  if (found && found->start <= block)
    {
      extent->kind = H2K_EXTENT_UNALLOCATED;
      end = found->start + found->count;
    }
  else if (found)
    end = found->start;
  extent->length = h2k_xfs_offset (&xfs->layout, ag, end) - offset;
  if (extent->kind == H2K_EXTENT_DATA)
    h2k_swap_files_leave_out (xfs->swap, extent);
  return TRUE;
}

/* --- the driver ---------------------------------------------------------------------------------
 */

static gboolean
check_log (const XfsUsage *xfs, H2kDisk *volume, GError **error)
{
  gboolean clean;

  if (!xfs->layout.log)
    return h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error,
                         "has its log on another device: whether it has been replayed cannot be "
                         "seen");
  if (!h2k_xfs_log_is_clean (volume, &xfs->layout, &clean, error))
    return FALSE;
  return clean
         || h2k_xfs_fail (volume, H2K_ERROR_FILESYSTEM, error,
                          "was not unmounted cleanly: its log has not been replayed");
}

static gboolean
xfs_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "xfs");
}

static void
xfs_close (H2kUsage *base)
{
  XfsUsage *xfs = (XfsUsage *)base;

  for (guint i = 0; i < N_WINDOWS; i++)
    g_array_unref (xfs->windows[i].extents);
  g_array_unref (xfs->swap);
  g_free (xfs);
}

static H2kUsage *
xfs_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  g_autofree XfsUsage *xfs = g_new0 (XfsUsage, 1);

  if (!h2k_xfs_read_layout (volume, &xfs->layout, error) || !check_log (xfs, volume, error))
    return NULL;
  for (guint i = 0; i < N_WINDOWS; i++)
    {
      xfs->windows[i].ag = NO_GROUP;
      xfs->windows[i].extents = g_array_new (FALSE, FALSE, sizeof (Free));
    }
  xfs->swap = h2k_swap_files_of (&h2k_xfs_ops, volume, drop_swap ? id : NULL, h2k_xfs_swap_places);
  h2k_usage_init (&xfs->base, &h2k_xfs_usage_ops, volume);
  return &((XfsUsage *)g_steal_pointer (&xfs))->base;
}

const H2kUsageOps h2k_xfs_usage_ops = {
    .name = "xfs",
    .takes = xfs_takes,
    .open = xfs_open,
    .used = xfs_used,
    .close = xfs_close,
};
