/* usage.c - finds the driver for a volume, and shows a disk without its unused blocks.
 *
 * What lies in no volume (partition tables, boot loaders, gaps) stays as it is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "fs/signs.h"
#include "volume/volume.h"

static const H2kUsageOps *const drivers[] = {
    &h2k_ext_usage_ops, &h2k_xfs_usage_ops,   &h2k_swap_usage_ops, &h2k_ntfs_usage_ops,
    &h2k_fat_usage_ops, &h2k_btrfs_usage_ops, &h2k_lvm_usage_ops,
};

void
h2k_usage_init (H2kUsage *usage, const H2kUsageOps *ops, H2kDisk *volume)
{
  usage->ops = ops;
  usage->volume = h2k_disk_ref (volume);
}

/* A volume that was another one before, or is another one now, is not believed. */
static gboolean
check_signs (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  const char *own = g_str_has_prefix (id->type, "ext")    ? "ext4"
                    : g_str_equal (id->type, "BitLocker") ? "vfat" /* as its boot sector says */
                                                          : id->type;
  const char *other;

  if (!h2k_fs_other_sign (volume, own, &other, error))
    return FALSE;
  if (other)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                 "%s: it has the signature of %s, too; wipefs can remove one of them", volume->name,
                 other);
  return !other;
}

/* The driver for VOLUME, which is what ID says, and nothing else. */
static const H2kUsageOps *
find_driver (H2kDisk *volume, const H2kFsId *id, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (drivers); i++)
    if (drivers[i]->takes (id))
      return check_signs (volume, id, error) ? drivers[i] : NULL;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: which blocks are in use is not known for type %s", volume->name,
               id->type[0] ? id->type : "unknown");
  return NULL;
}

typedef H2kUsage *(*KnownFunc) (H2kDisk *volume, GHashTable *known, gboolean drop_swap,
                                GError **error);

/* What opens a volume with what is KNOWN of others; NULL: nothing does. */
static KnownFunc
find_known_func (const H2kFsId *id, GHashTable *known)
{
  static const struct
  {
    const char *type;
    KnownFunc open;
  } funcs[] = {{"crypto_LUKS", h2k_luks_usage_new},
               {"BitLocker", h2k_bitlocker_usage_new},
               {"LVM2_member", h2k_lvm_usage_new}};

  for (gsize i = 0; known && i < G_N_ELEMENTS (funcs); i++)
    if (g_str_equal (funcs[i].type, id->type))
      return funcs[i].open;
  return NULL;
}

H2kUsage *
h2k_usage_open_known (H2kDisk *volume, GHashTable *known, gboolean drop_swap, GError **error)
{
  const H2kUsageOps *driver;
  KnownFunc open;
  H2kFsId id;

  if (!h2k_fs_identify (volume, &id, error))
    return NULL;
  open = find_known_func (&id, known);
  if (open)
    return check_signs (volume, &id, error) ? open (volume, known, drop_swap, error) : NULL;
  driver = find_driver (volume, &id, error);
  return driver ? driver->open (volume, &id, drop_swap, error) : NULL;
}

H2kUsage *
h2k_usage_open (H2kDisk *volume, gboolean drop_swap, GError **error)
{
  return h2k_usage_open_known (volume, NULL, drop_swap, error);
}

void
h2k_usage_free (H2kUsage *usage)
{
  H2kDisk *volume;

  if (!usage)
    return;
  volume = usage->volume;
  usage->ops->close (usage);
  h2k_disk_unref (volume);
}

/* --- the view --------------------------------------------------------------------------------- */

typedef struct
{
  guint64 offset, end; /* on the disk */
  guint64 start;       /* on the usage's volume, which may be more than this part */
  H2kUsage *usage;
} Part;

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  GArray *parts; /* Part, by offset, apart from each other */
  GMutex lock;   /* each H2kUsage is used by one thread at a time */
} UsedView;

/* The part that holds OFFSET, or the next one behind it, or NULL. */
static const Part *
find_part (const UsedView *view, guint64 offset)
{
  guint low = 0, high = view->parts->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      if (g_array_index (view->parts, Part, middle).end <= offset)
        low = middle + 1;
      else
        high = middle;
    }
  return low < view->parts->len ? &g_array_index (view->parts, Part, low) : NULL;
}

/* Whether what lies at OFFSET is in use, and how far that goes. */
static gboolean
used_at (UsedView *view, guint64 offset, guint64 *length, gboolean *used, GError **error)
{
  const Part *part = find_part (view, offset);
  H2kExtent extent;
  gboolean ok;

  *used = TRUE;
  if (!part || offset < part->offset)
    {
      *length = (part ? part->offset : view->base.size) - offset;
      return TRUE;
    }
  g_mutex_lock (&view->lock);
  ok = part->usage->ops->used (part->usage, part->start + offset - part->offset, &extent, error);
  g_mutex_unlock (&view->lock);
  if (!ok)
    return FALSE;
  *used = extent.kind == H2K_EXTENT_DATA;
  *length = MIN (extent.length, part->end - offset);
  return TRUE;
}

static gboolean
used_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  UsedView *view = (UsedView *)disk;
  guint8 *p = buffer;

  while (length)
    {
      guint64 run;
      gboolean used;
      gsize n;
      if (!used_at (view, offset, &run, &used, error))
        return FALSE;
      n = (gsize)MIN (run, length);
      if (!used)
        memset (p, 0, n);
      else if (!h2k_disk_pread (view->disk, offset, n, p, error))
        return FALSE;
      p += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
used_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  UsedView *view = (UsedView *)disk;
  guint64 run;
  gboolean used;

  if (!used_at (view, offset, &run, &used, error))
    return FALSE;
  if (used)
    return h2k_disk_extent (view->disk, offset, offset + run, extent, error);
  *extent = (H2kExtent){offset, run, H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
used_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  UsedView *view = (UsedView *)disk;
  guint64 run;
  gboolean used;

  return used_at (view, offset, &run, &used, NULL) && used
         && h2k_disk_stored (view->disk, offset, MIN (run, length), stored);
}

static void
used_finalize (H2kDisk *disk)
{
  UsedView *view = (UsedView *)disk;

  h2k_disk_unref (view->disk);
  g_array_unref (view->parts);
  g_mutex_clear (&view->lock);
}

static const H2kDiskOps used_ops = {
    .pread = used_pread,
    .extent = used_extent,
    .stored = used_stored,
    .finalize = used_finalize,
};

static int
compare_parts (gconstpointer a, gconstpointer b)
{
  const Part *p = a, *q = b;

  return p->offset < q->offset ? -1 : p->offset > q->offset;
}

static void
clear_part (gpointer data)
{
  h2k_usage_free (((Part *)data)->usage);
}

/* Leave out parts that reach into their predecessor: then nobody knows whose the blocks are. */
static void
drop_overlaps (GArray *parts)
{
  for (guint i = 1; i < parts->len;)
    {
      const Part *p = &g_array_index (parts, Part, i - 1);
      if (g_array_index (parts, Part, i).offset >= p->end)
        i++;
      else
        g_array_remove_range (parts, i - 1, 2);
      if (i > parts->len)
        i = parts->len;
    }
}

static gboolean
is_disk_error (const GError *error)
{
  return !g_error_matches (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
         && !g_error_matches (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
}

/* What the view of a disk is made from. */
typedef struct
{
  GPtrArray *disks;  /* H2kDisk *: the guest's */
  guint number;      /* of the disk, among these */
  H2kTable *table;   /* of the disk */
  GHashTable *known; /* may be NULL */
  gboolean drop_swap;
  GPtrArray *notes; /* may be NULL */
} Source;

static void
disk_unref (gpointer data)
{
  h2k_disk_unref (data);
}

static void
add_volumes (GPtrArray *volumes, const H2kTable *table)
{
  for (guint i = 0; i < table->volumes->len; i++)
    g_ptr_array_add (volumes, h2k_disk_ref (((H2kVolume *)table->volumes->pdata[i])->disk));
}

/* All volumes on the guest's disks: H2kDisk *. */
static GPtrArray *
list_volumes (const Source *source, GError **error)
{
  g_autoptr (GPtrArray) volumes = g_ptr_array_new_with_free_func (disk_unref);

  for (guint i = 0; i < source->disks->len; i++)
    {
      g_autoptr (H2kTable) other = NULL;

      if (i != source->number)
        {
          other = h2k_table_read (source->disks->pdata[i], error);
          if (!other)
            return NULL;
        }
      add_volumes (volumes, other ? other : source->table);
    }
  return g_steal_pointer (&volumes);
}

/* Open VOLUME, alone or with what it is one with. *START: where it begins there. */
static H2kUsage *
open_volume (const Source *source, H2kDisk *volume, const H2kFsId *id, guint64 *start,
             GError **error)
{
  const H2kUsageOps *driver;
  g_autoptr (GPtrArray) volumes = NULL;
  g_autoptr (H2kDisk) whole = NULL;
  H2kUsage *usage;

  *start = 0;
  if (find_known_func (id, source->known))
    return h2k_usage_open_known (volume, source->known, source->drop_swap, error);
  driver = find_driver (volume, id, error);
  if (!driver)
    return NULL;
  if (!driver->whole)
    return driver->open (volume, id, source->drop_swap, error);
  volumes = list_volumes (source, error);
  whole = volumes ? driver->whole (volume, volumes, start, error) : NULL;
  if (!whole)
    return NULL;
  usage = driver->open (whole, id, source->drop_swap, error);
  if (!usage && whole != volume)
    g_prefix_error (error, "%s: ", volume->name);
  return usage;
}

static gboolean
add_part (UsedView *view, const Source *source, const H2kVolume *volume, GError **error)
{
  Part part = {volume->offset, volume->offset + volume->length, 0, NULL};
  GError *reason = NULL;
  H2kFsId id;

  if (!h2k_fs_identify (volume->disk, &id, error))
    return FALSE;
  if (!id.type[0])
    return TRUE;
  part.usage = open_volume (source, volume->disk, &id, &part.start, &reason);
  if (part.usage)
    {
      g_array_append_val (view->parts, part);
      return TRUE;
    }
  if (is_disk_error (reason))
    {
      g_propagate_error (error, reason);
      return FALSE;
    }
  if (source->notes)
    g_ptr_array_add (source->notes, g_strdup_printf ("all of it is copied: %s", reason->message));
  g_error_free (reason);
  return TRUE;
}

H2kDisk *
h2k_used_view_of (GPtrArray *disks, guint i, gboolean drop_swap, GPtrArray *notes, GError **error)
{
  return h2k_used_view_known (disks, i, NULL, drop_swap, notes, error);
}

H2kDisk *
h2k_used_view_known (GPtrArray *disks, guint i, GHashTable *known, gboolean drop_swap,
                     GPtrArray *notes, GError **error)
{
  H2kDisk *disk = disks->pdata[i];
  g_autoptr (H2kTable) table = h2k_table_read (disk, error);
  const Source source = {disks, i, table, known, drop_swap, notes};
  UsedView *view;

  if (!table)
    return NULL;
  view = g_new0 (UsedView, 1);
  h2k_disk_init (&view->base, &used_ops, disk->size, "used", disk->name);
  view->base.sector_size = disk->sector_size;
  view->disk = h2k_disk_ref (disk);
  view->parts = g_array_new (FALSE, FALSE, sizeof (Part));
  g_array_set_clear_func (view->parts, clear_part);
  g_mutex_init (&view->lock);
  for (guint v = 0; v < table->volumes->len; v++)
    if (!add_part (view, &source, table->volumes->pdata[v], error))
      {
        h2k_disk_unref (&view->base);
        return NULL;
      }
  g_array_sort (view->parts, compare_parts);
  drop_overlaps (view->parts);
  return &view->base;
}

H2kDisk *
h2k_used_view_new (H2kDisk *disk, gboolean drop_swap, GPtrArray *notes, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();

  g_ptr_array_add (disks, disk);
  return h2k_used_view_of (disks, 0, drop_swap, notes, error);
}
