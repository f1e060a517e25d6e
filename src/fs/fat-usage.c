/* fat-usage.c - which clusters of a FAT12, FAT16 or FAT32 volume are in use: those whose entry in
 * the file allocation table is not 0. "Microsoft Extensible Firmware Initiative FAT32 File System
 * Specification" 1.03.
 *
 * The table is read window by window when it is asked for. Where its copies differ, all clusters of
 * the window are in use. So is all that lies before the first cluster (boot sectors, FSInfo, the
 * tables, the fixed root directory) and behind the last one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "fs/bits.h"
#include "fs/fat-table.h"
#include "fs/usage.h"

#define WINDOW H2K_FAT_WINDOW
#define MAX_CACHED (128 * WINDOW / 8)
/* Windows that are looked at to make one extent longer. */
#define MAX_MERGE 64u
/* The chains of files that are dropped may not jump about more often than this. */
#define MAX_JUMPS 512u
#define MAX_RANGES 8192u
#define MAX_ROOT (65536u * 32)

typedef struct
{
  guint64 first, end; /* clusters */
} Range;

typedef struct
{
  H2kUsage base;
  H2kFatLayout layout;
  GArray *dropped;   /* Range: what nobody needs any more */
  H2kCache *windows; /* a bit an entry, 1: in use */

  guint64 raw_index; /* the window of the table that is in RAW, G_MAXUINT64: none */
  gboolean raw_trusted;
  guint8 raw[H2K_FAT_WINDOW_BYTES];
} FatUsage;

static gboolean
corrupt (const FatUsage *usage, GError **error, const char *why)
{
  return h2k_fat_corrupt (usage->base.volume, error, "%s", why);
}

static gboolean
unclean (const FatUsage *usage, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: %s; shut the guest down cleanly to leave out unused clusters",
               usage->base.volume->name, why);
  return FALSE;
}

/* --- the table -------------------------------------------------------------------------------- */

/* Have the window INDEX of the table in RAW. */
static gboolean
read_window (FatUsage *usage, guint64 index, GError **error)
{
  if (usage->raw_index == index)
    return TRUE;
  usage->raw_index = G_MAXUINT64;
  if (!h2k_fat_read_window (usage->base.volume, &usage->layout, index, usage->raw,
                            &usage->raw_trusted, error))
    return FALSE;
  usage->raw_index = index;
  return TRUE;
}

/* The entry I of the window in RAW. */
static guint32
raw_entry (const FatUsage *usage, guint i)
{
  return h2k_fat_entry (&usage->layout, usage->raw, i);
}

/* The entry of CLUSTER (< end); 0, as of a free one, when the copies do not agree about it. */
static gboolean
get_entry (FatUsage *usage, guint64 cluster, guint32 *entry, GError **error)
{
  if (!read_window (usage, cluster / WINDOW, error))
    return FALSE;
  *entry = usage->raw_trusted ? raw_entry (usage, (guint)(cluster % WINDOW)) : 0;
  return TRUE;
}

static void
drop_bits (const GArray *dropped, guint8 *bits, guint64 start)
{
  for (guint r = 0; r < dropped->len; r++)
    {
      const Range *range = &g_array_index (dropped, Range, r);
      guint64 to = MIN (range->end, start + WINDOW);
      for (guint64 c = MAX (range->first, start); c < to; c++)
        bits[(c - start) / 8] &= (guint8) ~(1 << (c - start) % 8);
    }
}

/* A bit an entry of the window INDEX. */
static GBytes *
get_window (FatUsage *usage, guint64 index, GError **error)
{
  GBytes *window = h2k_cache_get (usage->windows, index);
  guint8 *bits;

  if (window)
    return window;
  if (!read_window (usage, index, error))
    return NULL;
  bits = g_malloc0 (WINDOW / 8);
  if (!usage->raw_trusted)
    memset (bits, 0xff, WINDOW / 8);
  else
    for (guint i = 0; i < WINDOW; i++)
      bits[i / 8] |= (guint8)((raw_entry (usage, i) != 0) << (i % 8));
  drop_bits (usage->dropped, bits, index * WINDOW);
  window = g_bytes_new_take (bits, WINDOW / 8);
  h2k_cache_put (usage->windows, index, window);
  return window;
}

/* What the table says of CLUSTER (< end), and of how many clusters from there on. */
static gboolean
look_up (FatUsage *usage, guint64 cluster, guint64 *count, gboolean *used, GError **error)
{
  *count = 0;
  for (guint merged = 0; merged < MAX_MERGE && cluster + *count < usage->layout.end; merged++)
    {
      guint64 at = cluster + *count, start = at / WINDOW * WINDOW;
      g_autoptr (GBytes) window = get_window (usage, at / WINDOW, error);
      guint first = (guint)(at - start), end = (guint)MIN (WINDOW, usage->layout.end - start), n;
      const guint8 *bits;

      if (!window)
        return FALSE;
      bits = g_bytes_get_data (window, NULL);
      if (merged == 0)
        *used = h2k_bit_get (bits, first);
      n = (guint)h2k_bit_run (bits, first, end, *used);
      *count += n;
      if (first + n < end)
        break;
    }
  return TRUE;
}

static gboolean
fat_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  FatUsage *usage = (FatUsage *)base;
  guint64 cluster, count;
  gboolean used = TRUE;

  *extent = (H2kExtent){offset, base->volume->size - offset, H2K_EXTENT_DATA};
  if (offset < usage->layout.data)
    {
      extent->length = usage->layout.data - offset;
      return TRUE;
    }
  cluster = (offset - usage->layout.data) / usage->layout.cluster + 2;
  if (cluster >= usage->layout.end)
    return TRUE;
  if (!look_up (usage, cluster, &count, &used, error))
    return FALSE;
  extent->length = usage->layout.data + (cluster - 2 + count) * usage->layout.cluster - offset;
  extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  return TRUE;
}

/* --- the volume's state ----------------------------------------------------------------------- */

static gboolean
check_state (const FatUsage *usage, GError **error)
{
  if (!(usage->layout.state & (H2K_FAT_STATE_DIRTY | H2K_FAT_STATE_ERRORS)))
    return TRUE;
  return unclean (usage, error,
                  "the volume is marked as dirty: it was in use when the disk was taken");
}

/* The entries 0 (the medium) and 1 (an end mark, but for two bits that say how the volume was
 * left). */
static gboolean
check_first_entries (FatUsage *usage, GError **error)
{
  const H2kFatLayout *layout = &usage->layout;
  guint32 ones = h2k_fat_ones (layout), marks = layout->bits == 12 ? 0 : ones >> 2 ^ ones;
  guint32 medium, state;

  if (!get_entry (usage, 0, &medium, error) || !get_entry (usage, 1, &state, error))
    return FALSE;
  if (!usage->raw_trusted)
    return corrupt (usage, error, "the copies of its table differ");
  if ((medium | 0xff) != ones || (medium & 0xff) != layout->medium || (state | marks | 7) != ones)
    return corrupt (usage, error, "its table does not begin as one");
  if (!h2k_fat_left_clean (layout, state))
    return unclean (usage, error, "the volume was not unmounted, or had read errors");
  return TRUE;
}

/* --- the root directory ----------------------------------------------------------------------- */

typedef enum
{
  FILE_HIBERNATION,
  FILE_PAGES,
  FILE_SWAP,
  FILE_SWAP_95,
  N_FILES,
} RootFile;

static const char root_files[N_FILES][12]
    = {"HIBERFILSYS", "PAGEFILESYS", "SWAPFILESYS", "WIN386  SWP"};

typedef struct
{
  guint64 cluster; /* 0: there is none */
  guint32 size;
} Found;

/* Look through LENGTH bytes of entries. TRUE: those were the last. */
static gboolean
scan_entries (const FatUsage *usage, const guint8 *entries, gsize length, Found *found)
{
  for (const guint8 *p = entries; p < entries + length; p += 32)
    {
      if (p[0] == 0)
        return TRUE;
      if (p[11] & 0x18) /* a directory, a label, a part of a long name */
        continue;
      for (guint i = 0; i < N_FILES; i++)
        if (memcmp (p, root_files[i], 11) == 0)
          {
            guint64 high = usage->layout.bits == 32 ? h2k_le16 (p + 20) : 0;
            found[i] = (Found){high << 16 | h2k_le16 (p + 26), h2k_le32 (p + 28)};
          }
    }
  return FALSE;
}

/* Look through FAT32's root directory, which is a chain of clusters. */
static gboolean
scan_root_chain (FatUsage *usage, Found *found, GError **error)
{
  g_autofree guint8 *entries = g_malloc (usage->layout.cluster);
  guint64 cluster = usage->layout.root;

  for (guint64 length = 0; length < MAX_ROOT; length += usage->layout.cluster)
    {
      guint32 next;
      if (cluster < 2 || cluster >= usage->layout.end)
        return corrupt (usage, error, "its root directory is damaged");
      if (!get_entry (usage, cluster, &next, error)
          || !h2k_disk_pread (usage->base.volume,
                              usage->layout.data + (cluster - 2) * usage->layout.cluster,
                              usage->layout.cluster, entries, error))
        return FALSE;
      if (next == 0)
        return corrupt (usage, error, "its root directory is not marked as used");
      if (scan_entries (usage, entries, usage->layout.cluster, found) || next >= 0x0ffffff8)
        return TRUE;
      cluster = next;
    }
  return corrupt (usage, error, "its root directory has no end");
}

static gboolean
find_root_files (FatUsage *usage, Found *found, GError **error)
{
  g_autofree guint8 *entries = NULL;

  if (usage->layout.bits == 32)
    return scan_root_chain (usage, found, error);
  entries = g_malloc (usage->layout.root_size);
  if (!h2k_disk_pread (usage->base.volume, usage->layout.root, usage->layout.root_size, entries,
                       error))
    return FALSE;
  scan_entries (usage, entries, usage->layout.root_size, found);
  return TRUE;
}

static gboolean
check_hibernation (FatUsage *usage, const Found *found, GError **error)
{
  char magic[4];

  if (found->cluster == 0 || found->size < sizeof magic)
    return TRUE;
  if (found->cluster < 2 || found->cluster >= usage->layout.end)
    return corrupt (usage, error, "its hiberfil.sys is damaged");
  if (!h2k_disk_pread (usage->base.volume,
                       usage->layout.data + (found->cluster - 2) * usage->layout.cluster,
                       sizeof magic, magic, error))
    return FALSE;
  if (g_ascii_strncasecmp (magic, "hibr", sizeof magic) == 0)
    return unclean (usage, error, "its Windows is hibernated");
  return TRUE;
}

/* Drop the file FOUND, if its chain is as long as the file and ends there. */
static gboolean
drop_file (FatUsage *usage, const Found *found, GError **error)
{
  guint32 last = h2k_fat_ones (&usage->layout) - 7;
  guint64 left = ((guint64)found->size + usage->layout.cluster - 1) / usage->layout.cluster,
          cluster;
  guint before = usage->dropped->len, jumps = 0;
  gboolean whole = FALSE;

  for (cluster = found->cluster; left && cluster >= 2 && cluster < usage->layout.end; left--)
    {
      Range *end = usage->dropped->len > before
                       ? &g_array_index (usage->dropped, Range, usage->dropped->len - 1)
                       : NULL;
      guint32 next;
      jumps += usage->raw_index != cluster / WINDOW;
      if (jumps > MAX_JUMPS || usage->dropped->len >= MAX_RANGES
          || (usage->layout.bits == 32 && cluster == usage->layout.root))
        break;
      if (!get_entry (usage, cluster, &next, error))
        return FALSE;
      if (end && end->end == cluster)
        end->end++;
      else
        {
          Range range = {cluster, cluster + 1};
          g_array_append_val (usage->dropped, range);
        }
      whole = left == 1 && next >= last;
      cluster = next;
    }
  if (!whole)
    g_array_set_size (usage->dropped, before);
  return TRUE;
}

static gboolean
look_at_root (FatUsage *usage, gboolean drop_swap, GError **error)
{
  Found found[N_FILES] = {0};

  if (!find_root_files (usage, found, error)
      || !check_hibernation (usage, &found[FILE_HIBERNATION], error))
    return FALSE;
  for (guint i = 0; drop_swap && i < N_FILES; i++)
    if (!drop_file (usage, &found[i], error))
      return FALSE;
  return TRUE;
}

/* --- the driver ------------------------------------------------------------------------------- */

static void
fat_usage_close (H2kUsage *base)
{
  FatUsage *usage = (FatUsage *)base;

  g_array_unref (usage->dropped);
  h2k_cache_free (usage->windows);
  g_free (usage);
}

static H2kUsage *
fat_usage_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  FatUsage *usage = g_new0 (FatUsage, 1);

  h2k_usage_init (&usage->base, &h2k_fat_usage_ops, volume);
  usage->dropped = g_array_new (FALSE, FALSE, sizeof (Range));
  usage->windows = h2k_cache_new (MAX_CACHED);
  usage->raw_index = G_MAXUINT64;
  if (h2k_fat_read_layout (volume, &usage->layout, error) && check_state (usage, error)
      && check_first_entries (usage, error) && look_at_root (usage, drop_swap, error))
    return &usage->base;
  h2k_usage_free (&usage->base);
  return NULL;
}

static gboolean
fat_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "vfat");
}

const H2kUsageOps h2k_fat_usage_ops = {
    .name = "fat",
    .takes = fat_takes,
    .open = fat_usage_open,
    .used = fat_used,
    .close = fat_usage_close,
};
