/* overlay.c - a copy-on-write layer in memory that spills into an unlinked temporary file.
 *
 *   blocks (4 KiB)     each is the base's, written or zero: the unit of change, so that writing
 *                      whole blocks reads nothing, and less than a block reads one block
 *   clusters (64 KiB)  sixteen blocks; the unit of storage: a buffer or a slot of the spill file,
 *                      and neither when it holds no written block
 *   regions (4 MiB)    sixty-four clusters in an ordered tree; a region that was zeroed as a whole
 *                      holds no clusters
 *
 * Reading a range that nobody changed costs one search in the tree, however long the range is.
 * The lock is held while the overlay's own bytes are copied, not while the base is read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK 4096
#define CLUSTER 65536
#define BLOCKS 16                     /* a cluster */
#define CLUSTERS 64                   /* a region */
#define LOOK_AHEAD ((guint64)1 << 30) /* how far one question for an extent walks */
#define REGION ((guint64)CLUSTERS * CLUSTER)

typedef struct
{
  guint16 written; /* bit N: block N is in the buffer or the slot */
  guint16 zero;    /* bit N: block N reads as zeros; never together with written */
  gboolean stored; /* there is a buffer or a slot */
  guint8 *buffer;
  guint64 slot; /* valid when stored and there is no buffer */
} Cluster;

typedef struct
{
  guint64 number;    /* of the region; the tree's key */
  Cluster *clusters; /* CLUSTERS of them; NULL: the whole region reads as zeros */
} Region;

typedef struct
{
  H2kDisk disk;
  char *temp_dir;
  guint64 memory_limit;

  GRWLock lock;
  GTree *regions;  /* Region by number */
  guint64 buffers; /* clusters held in memory */
  guint64 slots;   /* clusters held in the file */
  int fd;          /* the spill file; -1: not yet needed */
  guint64 fd_end;  /* slots that the file has */
  GArray *unused;  /* guint64: slots below FD_END that are free */
} Overlay;

typedef enum
{
  STATE_BASE,
  STATE_WRITTEN,
  STATE_ZERO,
} State;

/* --- the tree --------------------------------------------------------------------------------- */

static int
compare_numbers (gconstpointer a, gconstpointer b, gpointer unused)
{
  guint64 x = *(const guint64 *)a, y = *(const guint64 *)b;
  return x < y ? -1 : x > y;
}

static void
free_region (gpointer data)
{
  Region *region = data;

  for (guint i = 0; region->clusters && i < CLUSTERS; i++)
    g_free (region->clusters[i].buffer);
  g_free (region->clusters);
  g_free (region);
}

static GTree *
new_tree (void)
{
  return g_tree_new_full (compare_numbers, NULL, NULL, free_region);
}

static Region *
find_region (Overlay *overlay, guint64 number)
{
  return g_tree_lookup (overlay->regions, &number);
}

/* The first region whose number is NUMBER or more. */
static Region *
next_region (Overlay *overlay, guint64 number)
{
  GTreeNode *node = g_tree_lower_bound (overlay->regions, &number);
  return node ? g_tree_node_value (node) : NULL;
}

static Region *
add_region (Overlay *overlay, guint64 number)
{
  Region *region = g_new0 (Region, 1);

  region->number = number;
  g_tree_insert (overlay->regions, &region->number, region);
  return region;
}

/* The cluster that holds OFFSET, created as needed. */
static Cluster *
make_cluster (Overlay *overlay, guint64 offset)
{
  Region *region = find_region (overlay, offset / REGION);

  if (!region)
    {
      region = add_region (overlay, offset / REGION);
      region->clusters = g_new0 (Cluster, CLUSTERS);
    }
  else if (!region->clusters)
    {
      region->clusters = g_new0 (Cluster, CLUSTERS);
      for (guint i = 0; i < CLUSTERS; i++)
        region->clusters[i].zero = 0xffff;
    }
  return &region->clusters[offset % REGION / CLUSTER];
}

static State
block_state (const Region *region, guint64 offset)
{
  const Cluster *cluster;
  guint bit = 1u << (offset % CLUSTER / BLOCK);

  if (!region->clusters)
    return STATE_ZERO;
  cluster = &region->clusters[offset % REGION / CLUSTER];
  return cluster->written & bit ? STATE_WRITTEN : cluster->zero & bit ? STATE_ZERO : STATE_BASE;
}

/* The state at OFFSET, and in END where it changes, LIMIT at the most. Regions without changes
 * are stepped over. */
static State
find_run (Overlay *overlay, guint64 offset, guint64 limit, guint64 *end)
{
  Region *region = next_region (overlay, offset / REGION);
  State state
      = region && region->number == offset / REGION ? block_state (region, offset) : STATE_BASE;

  for (guint64 at = offset; at < limit;)
    {
      if (!region || region->number * REGION >= limit)
        {
          *end = state == STATE_BASE ? limit : at;
          return state;
        }
      if (region->number > at / REGION)
        {
          if (state != STATE_BASE)
            {
              *end = at;
              return state;
            }
          at = region->number * REGION;
        }
      if (block_state (region, at) != state)
        {
          *end = at;
          return state;
        }
      at = region->clusters ? (at / BLOCK + 1) * BLOCK : (region->number + 1) * REGION;
      if (at / REGION != region->number)
        region = next_region (overlay, at / REGION);
    }
  *end = limit;
  return state;
}

/* --- the spill file --------------------------------------------------------------------------- */

static void
set_spill_error (Overlay *overlay, int err, GError **error)
{
  g_autofree char *held = h2k_format_size (overlay->slots * CLUSTER);
  g_autofree char *room = NULL;
  struct statvfs fs;

  if (fstatvfs (overlay->fd, &fs) == 0)
    room = h2k_format_size ((guint64)fs.f_bavail * fs.f_frsize);
  /* EFBIG: the process's or the filesystem's limit of a file's size. */
  h2k_set_errno (error, err == EFBIG ? H2K_ERROR_NO_SPACE : H2K_ERROR_OUTPUT, err,
                 "%s: cannot keep the changes of this disk in a temporary file in %s, which holds "
                 "%s of them already (%s are free there); choose a roomier folder with TMPDIR, or "
                 "--temp-dir where the command has it",
                 overlay->disk.name, overlay->temp_dir, held, room ? room : "unknown amounts");
}

static gboolean
open_spill (Overlay *overlay, GError **error)
{
  int err;

  if (overlay->fd >= 0)
    return TRUE;
  overlay->fd = open (overlay->temp_dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  err = errno;
  /* Not every filesystem has O_TMPFILE; an old kernel takes the flag for O_DIRECTORY. */
  if (overlay->fd < 0 && (err == EOPNOTSUPP || err == EISDIR || err == EINVAL))
    {
      g_autofree char *path = g_build_filename (overlay->temp_dir, ".hyper2kvm-XXXXXX", NULL);
      overlay->fd = mkostemp (path, O_CLOEXEC);
      err = errno;
      if (overlay->fd >= 0)
        unlink (path);
    }
  if (overlay->fd >= 0)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, err,
                 "%s: cannot create a temporary file in %s for the changes of this disk; choose "
                 "another folder with TMPDIR, or --temp-dir where the command has it",
                 overlay->disk.name, overlay->temp_dir);
  return FALSE;
}

/* Give CLUSTER a place for its bytes: a buffer while memory lasts, then a slot. */
static gboolean
store_cluster (Overlay *overlay, Cluster *cluster, GError **error)
{
  if (cluster->stored)
    return TRUE;
  if ((overlay->buffers + 1) * CLUSTER <= overlay->memory_limit)
    {
      cluster->buffer = g_malloc (CLUSTER);
      overlay->buffers++;
    }
  else
    {
      if (!open_spill (overlay, error))
        return FALSE;
      if (overlay->unused->len)
        {
          cluster->slot = g_array_index (overlay->unused, guint64, overlay->unused->len - 1);
          g_array_set_size (overlay->unused, overlay->unused->len - 1);
        }
      else
        cluster->slot = overlay->fd_end++;
      overlay->slots++;
    }
  cluster->stored = TRUE;
  return TRUE;
}

/* Free the place of a cluster that holds no written block any more. */
static void
unstore_cluster (Overlay *overlay, Cluster *cluster)
{
  if (!cluster->stored || cluster->written)
    return;
  if (cluster->buffer)
    {
      g_clear_pointer (&cluster->buffer, g_free);
      overlay->buffers--;
    }
  else
    {
      g_array_append_val (overlay->unused, cluster->slot);
      overlay->slots--;
    }
  cluster->stored = FALSE;
}

static gboolean
load (Overlay *overlay, const Cluster *cluster, gsize start, gsize length, guint8 *out,
      GError **error)
{
  int err;

  if (cluster->buffer)
    {
      memcpy (out, cluster->buffer + start, length);
      return TRUE;
    }
  err = h2k_pread_full (overlay->fd, out, length, cluster->slot * CLUSTER + start);
  if (err)
    h2k_set_errno (error, H2K_ERROR_SOURCE, err,
                   "%s: cannot read the changes of this disk back from the temporary file in %s",
                   overlay->disk.name, overlay->temp_dir);
  return err == 0;
}

static gboolean
save (Overlay *overlay, Cluster *cluster, gsize start, gsize length, const guint8 *data,
      GError **error)
{
  int err;

  if (!store_cluster (overlay, cluster, error))
    return FALSE;
  if (cluster->buffer)
    {
      memcpy (cluster->buffer + start, data, length);
      return TRUE;
    }
  err = h2k_pwrite_full (overlay->fd, data, length, cluster->slot * CLUSTER + start);
  if (err)
    set_spill_error (overlay, err, error);
  return err == 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* One run of blocks in the same state. Base runs are left to the caller. */
static gboolean
read_changed (Overlay *overlay, State state, guint64 offset, gsize length, guint8 *out,
              GError **error)
{
  if (state == STATE_ZERO)
    {
      memset (out, 0, length);
      return TRUE;
    }
  while (length)
    {
      Region *region = find_region (overlay, offset / REGION);
      gsize start = (gsize)(offset % CLUSTER), n = MIN (length, CLUSTER - start);
      if (!load (overlay, &region->clusters[offset % REGION / CLUSTER], start, n, out, error))
        return FALSE;
      out += n;
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
overlay_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Overlay *overlay = (Overlay *)disk;
  guint64 limit = offset + length, end;
  gboolean ok = TRUE;

  for (guint8 *out = buffer; ok && offset < limit; out += end - offset, offset = end)
    {
      State state;

      g_rw_lock_reader_lock (&overlay->lock);
      state = find_run (overlay, offset, limit, &end);
      if (state != STATE_BASE)
        ok = read_changed (overlay, state, offset, (gsize)(end - offset), out, error);
      g_rw_lock_reader_unlock (&overlay->lock);
      if (state == STATE_BASE)
        ok = h2k_disk_pread (disk->backing, offset, (gsize)(end - offset), out, error);
    }
  return ok;
}

/* Runs of the overlay and of the base that are of one kind become one extent; the number of
 * questions to the base is bounded. */
static gboolean
overlay_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  static const H2kExtentKind kinds[] = {
      [STATE_WRITTEN] = H2K_EXTENT_DATA,
      [STATE_ZERO] = H2K_EXTENT_ZERO,
  };
  Overlay *overlay = (Overlay *)disk;

  extent->length = 0;
  for (guint i = 0; i < 64 && extent->length < disk->size - offset; i++)
    {
      guint64 at = offset + extent->length, end;
      H2kExtent part;
      State state;

      g_rw_lock_reader_lock (&overlay->lock);
      state = find_run (overlay, at, MIN (disk->size, at + LOOK_AHEAD), &end);
      g_rw_lock_reader_unlock (&overlay->lock);
      if (state != STATE_BASE)
        part = (H2kExtent){at, end - at, kinds[state]};
      else if (!h2k_disk_extent (disk->backing, at, end, &part, error))
        return FALSE;
      if (i > 0 && part.kind != extent->kind)
        break;
      extent->kind = part.kind;
      extent->length += part.length;
      if (state == STATE_BASE && part.length < end - at)
        break; /* the base has something else next, or did not want to say more */
    }
  return TRUE;
}

static gboolean
overlay_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  Overlay *overlay = (Overlay *)disk;
  guint64 end;
  State state;

  g_rw_lock_reader_lock (&overlay->lock);
  state = find_run (overlay, offset, offset + length, &end);
  g_rw_lock_reader_unlock (&overlay->lock);
  return state == STATE_BASE && h2k_disk_stored (disk->backing, offset, end - offset, stored);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Write into one block less than all of it: the rest is kept. */
static gboolean
write_part (Overlay *overlay, Cluster *cluster, guint64 offset, gsize length, const guint8 *data,
            GError **error)
{
  guint64 start = offset / BLOCK * BLOCK;
  gsize size = (gsize)MIN (BLOCK, overlay->disk.size - start);
  guint bit = 1u << (offset % CLUSTER / BLOCK);
  guint8 block[BLOCK] = {0};

  if (cluster->zero & bit && h2k_is_zero (data, length))
    return TRUE;
  if (cluster->written & bit)
    return save (overlay, cluster, (gsize)(offset % CLUSTER), length, data, error);
  if (!(cluster->zero & bit) && !h2k_disk_pread (overlay->disk.backing, start, size, block, error))
    return FALSE;
  memcpy (block + offset % BLOCK, data, length);
  if (!save (overlay, cluster, (gsize)(start % CLUSTER), BLOCK, block, error))
    return FALSE;
  cluster->written |= (guint16)bit;
  cluster->zero &= (guint16)~bit;
  return TRUE;
}

static void
zero_blocks (Overlay *overlay, Cluster *cluster, guint16 mask)
{
  cluster->zero |= mask;
  cluster->written &= (guint16)~mask;
  unstore_cluster (overlay, cluster);
}

/* Bits of the COUNT blocks from the one at OFFSET. */
static guint16
block_mask (guint64 offset, gsize count)
{
  return (guint16)(((1u << count) - 1) << (offset % CLUSTER / BLOCK));
}

/* Write whole blocks of one cluster; those that are zero take no place. */
static gboolean
write_blocks (Overlay *overlay, Cluster *cluster, guint64 offset, gsize count, const guint8 *data,
              GError **error)
{
  for (gsize i = 0, n; i < count; i += n)
    {
      gboolean zero = h2k_is_zero (data + i * BLOCK, BLOCK);
      guint16 mask;

      for (n = 1; i + n < count && h2k_is_zero (data + (i + n) * BLOCK, BLOCK) == zero; n++)
        ;
      mask = block_mask (offset + i * BLOCK, n);
      if (zero)
        {
          zero_blocks (overlay, cluster, mask);
          continue;
        }
      if (!save (overlay, cluster, (gsize)(offset % CLUSTER) + i * BLOCK, n * BLOCK,
                 data + i * BLOCK, error))
        return FALSE;
      cluster->written |= mask;
      cluster->zero &= (guint16)~mask;
    }
  return TRUE;
}

static gboolean
overlay_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  Overlay *overlay = (Overlay *)disk;
  gboolean ok = TRUE;

  g_rw_lock_writer_lock (&overlay->lock);
  for (const guint8 *data = buffer; ok && length;)
    {
      Cluster *cluster = make_cluster (overlay, offset);
      gsize in_block = (gsize)(offset % BLOCK), in_cluster = (gsize)(offset % CLUSTER);
      gsize n = MIN (length, CLUSTER - in_cluster);

      if (in_block || n < BLOCK)
        {
          n = MIN (n, BLOCK - in_block);
          ok = write_part (overlay, cluster, offset, n, data, error);
        }
      else
        {
          n -= n % BLOCK;
          ok = write_blocks (overlay, cluster, offset, n / BLOCK, data, error);
        }
      /* A cluster whose first write failed holds nothing. */
      unstore_cluster (overlay, cluster);
      data += n;
      offset += n;
      length -= n;
    }
  g_rw_lock_writer_unlock (&overlay->lock);
  return ok;
}

/* Make a whole region zero: it needs no clusters then. */
static void
zero_region (Overlay *overlay, guint64 number)
{
  Region *region = find_region (overlay, number);

  if (!region)
    add_region (overlay, number);
  else if (region->clusters)
    {
      for (guint i = 0; i < CLUSTERS; i++)
        zero_blocks (overlay, &region->clusters[i], 0xffff);
      g_clear_pointer (&region->clusters, g_free);
    }
}

static gboolean
overlay_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  static const guint8 zeros[BLOCK];
  Overlay *overlay = (Overlay *)disk;
  gboolean ok = TRUE;

  g_rw_lock_writer_lock (&overlay->lock);
  while (ok && length)
    {
      guint64 n = MIN (length, CLUSTER - offset % CLUSTER);

      if (offset % REGION == 0 && length >= REGION)
        {
          n = REGION;
          zero_region (overlay, offset / REGION);
        }
      else if (offset % BLOCK || (n < BLOCK && offset + n < disk->size))
        {
          Cluster *cluster = make_cluster (overlay, offset);
          n = MIN (n, BLOCK - offset % BLOCK);
          ok = write_part (overlay, cluster, offset, (gsize)n, zeros, error);
          unstore_cluster (overlay, cluster);
        }
      else
        {
          /* The disk's last block may be a short one. */
          gsize count = (gsize)(offset + n == disk->size ? (n + BLOCK - 1) / BLOCK : n / BLOCK);
          n = MIN (n, (guint64)count * BLOCK);
          zero_blocks (overlay, make_cluster (overlay, offset), block_mask (offset, count));
        }
      offset += n;
      length -= n;
    }
  g_rw_lock_writer_unlock (&overlay->lock);
  return ok;
}

/* --- changes ---------------------------------------------------------------------------------- */

/* What changed in the cluster that holds OFFSET: FALSE for nothing, else KIND is set. */
static gboolean
cluster_change (const Region *region, guint64 offset, guint64 disk_size, H2kExtentKind *kind)
{
  const Cluster *cluster;
  guint64 inside = MIN (CLUSTER, disk_size - offset / CLUSTER * CLUSTER);
  guint16 all = block_mask (0, (gsize)((inside + BLOCK - 1) / BLOCK));

  *kind = H2K_EXTENT_ZERO;
  if (!region->clusters)
    return TRUE;
  cluster = &region->clusters[offset % REGION / CLUSTER];
  if ((cluster->zero & all) != all)
    *kind = H2K_EXTENT_DATA;
  return cluster->written || cluster->zero;
}

/* Under the lock. Neighbouring clusters of one kind become one extent. */
static gboolean
next_change (Overlay *overlay, guint64 offset, H2kExtent *extent)
{
  Region *region = next_region (overlay, offset / REGION);
  guint64 at = offset, size = overlay->disk.size;

  extent->length = 0;
  while (region && at < size)
    {
      H2kExtentKind kind;

      if (region->number > at / REGION)
        {
          if (extent->length)
            return TRUE;
          at = region->number * REGION;
        }
      if (!cluster_change (region, at, size, &kind) || (extent->length && kind != extent->kind))
        {
          if (extent->length)
            return TRUE;
        }
      else
        {
          if (!extent->length)
            *extent = (H2kExtent){at, 0, kind};
          extent->length = MIN ((at / CLUSTER + 1) * CLUSTER, size) - extent->offset;
        }
      at = (at / CLUSTER + 1) * CLUSTER;
      if (at / REGION != region->number)
        region = next_region (overlay, at / REGION);
    }
  return extent->length > 0;
}

gboolean
h2k_overlay_next_change (H2kDisk *disk, guint64 offset, H2kExtent *extent)
{
  Overlay *overlay = (Overlay *)disk;
  gboolean found;

  g_rw_lock_reader_lock (&overlay->lock);
  found = next_change (overlay, offset, extent);
  g_rw_lock_reader_unlock (&overlay->lock);
  return found;
}

guint64
h2k_overlay_bytes (H2kDisk *disk)
{
  Overlay *overlay = (Overlay *)disk;
  guint64 clusters;

  g_rw_lock_reader_lock (&overlay->lock);
  clusters = overlay->buffers + overlay->slots;
  g_rw_lock_reader_unlock (&overlay->lock);
  return clusters * CLUSTER;
}

void
h2k_overlay_reset (H2kDisk *disk)
{
  Overlay *overlay = (Overlay *)disk;

  g_rw_lock_writer_lock (&overlay->lock);
  g_tree_unref (overlay->regions);
  overlay->regions = new_tree ();
  overlay->buffers = overlay->slots = overlay->fd_end = 0;
  g_array_set_size (overlay->unused, 0);
  if (overlay->fd >= 0)
    close (overlay->fd);
  overlay->fd = -1;
  g_rw_lock_writer_unlock (&overlay->lock);
}

static void
overlay_finalize (H2kDisk *disk)
{
  Overlay *overlay = (Overlay *)disk;

  g_tree_unref (overlay->regions);
  g_array_unref (overlay->unused);
  g_rw_lock_clear (&overlay->lock);
  if (overlay->fd >= 0)
    close (overlay->fd);
  g_free (overlay->temp_dir);
}

static const H2kDiskOps overlay_ops = {
    .pread = overlay_pread,
    .extent = overlay_extent,
    .stored = overlay_stored,
    .pwrite = overlay_pwrite,
    .zero = overlay_zero,
    .finalize = overlay_finalize,
};

H2kDisk *
h2k_overlay_new (H2kDisk *base, const char *temp_dir, guint64 memory_limit)
{
  Overlay *overlay = g_new0 (Overlay, 1);
  const char *tmpdir = g_getenv ("TMPDIR");

  h2k_disk_init (&overlay->disk, &overlay_ops, base->size, "overlay", base->name);
  overlay->disk.sector_size = base->sector_size;
  overlay->disk.backing = h2k_disk_ref (base);
  h2k_disk_add_files (&overlay->disk, base);
  overlay->temp_dir = g_strdup (temp_dir ? temp_dir : tmpdir && *tmpdir ? tmpdir : "/var/tmp");
  overlay->memory_limit = memory_limit;
  overlay->regions = new_tree ();
  overlay->unused = g_array_new (FALSE, FALSE, sizeof (guint64));
  overlay->fd = -1;
  g_rw_lock_init (&overlay->lock);
  return &overlay->disk;
}
