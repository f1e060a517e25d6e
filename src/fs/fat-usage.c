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
#include "fs/usage.h"

/* Entries of the table that are read at once; even, so that a pair of FAT12 is not torn apart. */
#define WINDOW 16384u
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
  guint bits;            /* of an entry: 12, 16 or 32 */
  guint sector, cluster; /* bytes */
  guint64 fat, fat_size; /* bytes; the first copy that counts */
  guint copies;          /* that have to agree */
  guint64 root;          /* FAT32: the first cluster; else where the directory is, in bytes */
  guint64 root_size;     /* bytes; 0: FAT32 */
  guint64 data;          /* bytes: the cluster 2 */
  guint64 end;           /* behind the last cluster that has an entry; the first one is 2 */
  GArray *dropped;       /* Range: what nobody needs any more */
  H2kCache *windows;     /* a bit an entry, 1: in use */

  guint64 raw_index; /* the window of the table that is in RAW, G_MAXUINT64: none */
  gboolean raw_trusted;
  guint8 raw[WINDOW * 4], other[WINDOW * 4];
} FatUsage;

static gboolean
corrupt (const FatUsage *usage, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: the FAT filesystem is corrupt: %s; let chkdsk or fsck.fat repair it",
               usage->base.volume->name, why);
  return FALSE;
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
  gsize bytes = WINDOW / 8 * usage->bits;
  guint64 at = index * bytes;
  gsize length = (gsize)MIN (bytes, usage->fat_size - at);

  if (usage->raw_index == index)
    return TRUE;
  usage->raw_index = G_MAXUINT64;
  usage->raw_trusted = TRUE;
  memset (usage->raw + length, 0xff, sizeof usage->raw - length);
  if (!h2k_disk_pread (usage->base.volume, usage->fat + at, length, usage->raw, error))
    return FALSE;
  for (guint i = 1; i < usage->copies && usage->raw_trusted; i++)
    {
      if (!h2k_disk_pread (usage->base.volume, usage->fat + i * usage->fat_size + at, length,
                           usage->other, error))
        return FALSE;
      usage->raw_trusted = memcmp (usage->raw, usage->other, length) == 0;
    }
  usage->raw_index = index;
  return TRUE;
}

/* The entry I of the window in RAW. */
static guint32
raw_entry (const FatUsage *usage, guint i)
{
  guint16 pair;

  if (usage->bits == 32)
    return h2k_le32 (usage->raw + i * 4) & 0x0fffffff;
  if (usage->bits == 16)
    return h2k_le16 (usage->raw + i * 2);
  pair = h2k_le16 (usage->raw + i + i / 2);
  return i % 2 ? pair >> 4 : pair & 0xfff;
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
  for (guint merged = 0; merged < MAX_MERGE && cluster + *count < usage->end; merged++)
    {
      guint64 at = cluster + *count, start = at / WINDOW * WINDOW;
      g_autoptr (GBytes) window = get_window (usage, at / WINDOW, error);
      guint first = (guint)(at - start), end = (guint)MIN (WINDOW, usage->end - start), n;
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
  if (offset < usage->data)
    {
      extent->length = usage->data - offset;
      return TRUE;
    }
  cluster = (offset - usage->data) / usage->cluster + 2;
  if (cluster >= usage->end)
    return TRUE;
  if (!look_up (usage, cluster, &count, &used, error))
    return FALSE;
  extent->length = usage->data + (cluster - 2 + count) * usage->cluster - offset;
  extent->kind = used ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED;
  return TRUE;
}

/* --- the boot sector -------------------------------------------------------------------------- */

static gboolean
is_power_of_2 (guint n)
{
  return n && !(n & (n - 1));
}

/* Which kind it is, by the specification: by the number of clusters and nothing else. But all
 * systems take what has FAT32's boot sector for FAT32, however small it is, and near to the limit
 * between FAT12 and FAT16 they do not agree. */
static gboolean
choose_bits (FatUsage *usage, gboolean fat32, guint64 clusters, GError **error)
{
  usage->bits = fat32 ? 32 : clusters < 4085 ? 12 : 16;
  if ((fat32 && clusters < 0x0ffffff5) || (!fat32 && clusters < 4085 - 16)
      || (!fat32 && clusters > 4085 + 16 && clusters < 65525))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: a FAT filesystem with %" G_GUINT64_FORMAT
               " clusters could be of either of two kinds",
               usage->base.volume->name, clusters);
  return FALSE;
}

/* Which copies of the table count. */
static gboolean
choose_copies (FatUsage *usage, const guint8 *boot, GError **error)
{
  guint flags = usage->bits == 32 ? h2k_le16 (boot + 40) : 0;

  usage->copies = boot[16];
  if (!(flags & 0x80))
    return TRUE;
  usage->copies = 1;
  usage->fat += (flags & 15) * usage->fat_size;
  return (flags & 15) < boot[16] || corrupt (usage, error, "it has no active table");
}

static gboolean
parse_boot (FatUsage *usage, GError **error)
{
  guint64 sectors, reserved, root_sectors, first, clusters;
  guint8 boot[512];
  gboolean fat32;

  if (!h2k_disk_pread (usage->base.volume, 0, sizeof boot, boot, error))
    return FALSE;
  usage->sector = h2k_le16 (boot + 11);
  usage->cluster = boot[13] * usage->sector;
  reserved = h2k_le16 (boot + 14);
  sectors = h2k_le16 (boot + 19) ? h2k_le16 (boot + 19) : h2k_le32 (boot + 32);
  fat32 = h2k_le16 (boot + 22) == 0;
  if (usage->sector < 512 || usage->sector > 4096 || !is_power_of_2 (usage->sector)
      || !is_power_of_2 (boot[13]) || !reserved || !boot[16] || boot[16] > 4
      || fat32 != (h2k_le16 (boot + 17) == 0) || (fat32 && h2k_le16 (boot + 42) != 0)
      || sectors > usage->base.volume->size / usage->sector)
    return corrupt (usage, error, "its boot sector makes no sense");

  usage->fat = reserved * usage->sector;
  usage->fat_size = (guint64)(fat32 ? h2k_le32 (boot + 36) : h2k_le16 (boot + 22)) * usage->sector;
  root_sectors = (h2k_le16 (boot + 17) * 32u + usage->sector - 1) / usage->sector;
  first = reserved + boot[16] * (usage->fat_size / usage->sector) + root_sectors;
  if (!usage->fat_size || first >= sectors)
    return corrupt (usage, error, "its boot sector makes no sense");
  usage->data = first * usage->sector;
  usage->root_size = h2k_le16 (boot + 17) * 32u;
  usage->root = fat32 ? h2k_le32 (boot + 44) : usage->data - root_sectors * usage->sector;
  clusters = (sectors - first) / boot[13];
  if (!choose_bits (usage, fat32, clusters, error) || !choose_copies (usage, boot, error))
    return FALSE;
  usage->end = MIN (clusters + 2, usage->fat_size * 8 / usage->bits);
  /* What Linux and Windows NT set while they have the volume, and after errors. */
  if (boot[fat32 ? 65 : 37] & 3)
    return unclean (usage, error,
                    "the volume is marked as dirty: it was in use when the disk was taken");
  return TRUE;
}

/* The entries 0 (the medium) and 1 (an end mark, but for two bits that say how the volume was
 * left). */
static gboolean
check_first_entries (FatUsage *usage, GError **error)
{
  guint32 ones = usage->bits == 12 ? 0xfff : usage->bits == 16 ? 0xffff : 0x0fffffff;
  guint32 clean = usage->bits == 12 ? 0 : (ones >> 1) + 1, no_error = clean / 2;
  guint32 medium, state;
  guint8 byte;

  if (usage->end < 3)
    return corrupt (usage, error, "its table has no entries");
  if (!h2k_disk_pread (usage->base.volume, 21, 1, &byte, error)
      || !get_entry (usage, 0, &medium, error) || !get_entry (usage, 1, &state, error))
    return FALSE;
  if (!usage->raw_trusted)
    return corrupt (usage, error, "the copies of its table differ");
  if ((medium | 0xff) != ones || (medium & 0xff) != byte || (state | clean | no_error | 7) != ones)
    return corrupt (usage, error, "its table does not begin as one");
  if ((clean && !(state & clean)) || (no_error && !(state & no_error)))
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
            guint64 high = usage->bits == 32 ? h2k_le16 (p + 20) : 0;
            found[i] = (Found){high << 16 | h2k_le16 (p + 26), h2k_le32 (p + 28)};
          }
    }
  return FALSE;
}

/* Look through FAT32's root directory, which is a chain of clusters. */
static gboolean
scan_root_chain (FatUsage *usage, Found *found, GError **error)
{
  g_autofree guint8 *entries = g_malloc (usage->cluster);
  guint64 cluster = usage->root;

  for (guint64 length = 0; length < MAX_ROOT; length += usage->cluster)
    {
      guint32 next;
      if (cluster < 2 || cluster >= usage->end)
        return corrupt (usage, error, "its root directory is damaged");
      if (!get_entry (usage, cluster, &next, error)
          || !h2k_disk_pread (usage->base.volume, usage->data + (cluster - 2) * usage->cluster,
                              usage->cluster, entries, error))
        return FALSE;
      if (next == 0)
        return corrupt (usage, error, "its root directory is not marked as used");
      if (scan_entries (usage, entries, usage->cluster, found) || next >= 0x0ffffff8)
        return TRUE;
      cluster = next;
    }
  return corrupt (usage, error, "its root directory has no end");
}

static gboolean
find_root_files (FatUsage *usage, Found *found, GError **error)
{
  g_autofree guint8 *entries = NULL;

  if (usage->bits == 32)
    return scan_root_chain (usage, found, error);
  entries = g_malloc (usage->root_size);
  if (!h2k_disk_pread (usage->base.volume, usage->root, usage->root_size, entries, error))
    return FALSE;
  scan_entries (usage, entries, usage->root_size, found);
  return TRUE;
}

static gboolean
check_hibernation (FatUsage *usage, const Found *found, GError **error)
{
  char magic[4];

  if (found->cluster == 0 || found->size < sizeof magic)
    return TRUE;
  if (found->cluster < 2 || found->cluster >= usage->end)
    return corrupt (usage, error, "its hiberfil.sys is damaged");
  if (!h2k_disk_pread (usage->base.volume, usage->data + (found->cluster - 2) * usage->cluster,
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
  guint32 last = usage->bits == 12 ? 0xff8 : usage->bits == 16 ? 0xfff8 : 0x0ffffff8;
  guint64 left = ((guint64)found->size + usage->cluster - 1) / usage->cluster, cluster;
  guint before = usage->dropped->len, jumps = 0;
  gboolean whole = FALSE;

  for (cluster = found->cluster; left && cluster >= 2 && cluster < usage->end; left--)
    {
      Range *end = usage->dropped->len > before
                       ? &g_array_index (usage->dropped, Range, usage->dropped->len - 1)
                       : NULL;
      guint32 next;
      jumps += usage->raw_index != cluster / WINDOW;
      if (jumps > MAX_JUMPS || usage->dropped->len >= MAX_RANGES
          || (usage->bits == 32 && cluster == usage->root))
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
  if (parse_boot (usage, error) && check_first_entries (usage, error)
      && look_at_root (usage, drop_swap, error))
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
