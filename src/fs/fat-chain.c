/* fat-chain.c - the chains of clusters of a FAT volume: following, growing, freeing them.
 *
 * Windows of the table are cached. Those with pending changes stay until they are written or the
 * next operation begins, which forgets them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat.h"

/* Without changes: 4 MiB of the largest windows. */
#define MAX_WINDOWS 64u
/* Windows that one operation may read; the largest table twice. */
#define MAX_READS 32768u

struct _FatWindow
{
  guint64 index;
  guint64 used;   /* when, by the clock */
  gsize from, to; /* bytes that were changed */
  guint8 data[H2K_FAT_WINDOW_BYTES];
};

/* What was at AT before. */
typedef struct
{
  guint64 at;
  gsize length;
  guint8 data[];
} FatOld;

void
h2k_fat_chains_init (FatFs *fat)
{
  fat->undo = g_ptr_array_new_with_free_func (g_free);
  fat->windows = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, g_free);
  fat->free_clusters = fat->info_free = -1;
  fat->next_free = 2;
}

void
h2k_fat_chains_clear (FatFs *fat)
{
  g_clear_pointer (&fat->windows, g_hash_table_unref);
  g_clear_pointer (&fat->undo, g_ptr_array_unref);
}

static gboolean
is_pending (gpointer key, gpointer value, gpointer data)
{
  const FatWindow *window = value;

  return window->to > window->from;
}

void
h2k_fat_begin (FatFs *fat)
{
  fat->window = NULL;
  if (fat->pending || fat->pending_next)
    g_hash_table_foreach_remove (fat->windows, is_pending, NULL);
  fat->pending = 0;
  fat->pending_next = 0;
  fat->budget = MAX_READS;
  g_ptr_array_set_size (fat->undo, 0);
}

/* --- windows ---------------------------------------------------------------------------------- */

/* Make room for one more window, if there is one without changes. */
static void
evict (FatFs *fat)
{
  GHashTableIter iter;
  gpointer value;
  FatWindow *oldest = NULL;

  if (g_hash_table_size (fat->windows) < MAX_WINDOWS)
    return;
  g_hash_table_iter_init (&iter, fat->windows);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    {
      FatWindow *window = value;
      if (window->to <= window->from && (!oldest || window->used < oldest->used))
        oldest = window;
    }
  if (oldest)
    g_hash_table_remove (fat->windows, &oldest->index);
}

static FatWindow *
get_window (FatFs *fat, guint64 index, GError **error)
{
  g_autofree FatWindow *window = NULL;

  if (fat->window && fat->window->index == index)
    return fat->window;
  fat->window = g_hash_table_lookup (fat->windows, &index);
  if (!fat->window)
    {
      if (fat->budget == 0)
        {
          h2k_fat_corrupt (fat->base.volume, error, "its chains of clusters have no end");
          return NULL;
        }
      fat->budget--;
      evict (fat);
      window = g_malloc (sizeof *window);
      *window = (FatWindow){.index = index};
      if (!h2k_fat_read_window (fat->base.volume, &fat->layout, index, window->data, NULL, error))
        return NULL;
      fat->window = window;
      g_hash_table_insert (fat->windows, &window->index, window);
      window = NULL;
    }
  fat->window->used = ++fat->clock;
  return fat->window;
}

gboolean
h2k_fat_get (FatFs *fat, guint32 cluster, guint32 *entry, GError **error)
{
  const FatWindow *window = get_window (fat, cluster / H2K_FAT_WINDOW, error);

  if (!window)
    return FALSE;
  *entry = h2k_fat_entry (&fat->layout, window->data, cluster % H2K_FAT_WINDOW);
  return TRUE;
}

static gboolean
set_entry (FatFs *fat, guint32 cluster, guint32 entry, GError **error)
{
  FatWindow *window = get_window (fat, cluster / H2K_FAT_WINDOW, error);
  guint i = cluster % H2K_FAT_WINDOW;
  gsize from = (gsize)i * fat->layout.bits / 8, to = ((gsize)(i + 1) * fat->layout.bits + 7) / 8;

  if (!window)
    return FALSE;
  fat->pending += (entry == 0) - (h2k_fat_entry (&fat->layout, window->data, i) == 0);
  fat->pending_next = cluster + 1;
  h2k_fat_set_entry (&fat->layout, window->data, i, entry);
  window->from = window->to > window->from ? MIN (window->from, from) : from;
  window->to = MAX (window->to, to);
  return TRUE;
}

/* --- chains ----------------------------------------------------------------------------------- */

gboolean
h2k_fat_next (FatFs *fat, guint32 cluster, guint32 *next, GError **error)
{
  if (!h2k_fat_get (fat, cluster, next, error))
    return FALSE;
  if (*next >= h2k_fat_ones (&fat->layout) - 7)
    *next = 0;
  else if (*next < 2 || *next >= fat->layout.end
           || (fat->layout.bits == 32 && *next == fat->layout.root))
    return h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters leads nowhere");
  return TRUE;
}

static void
add_to_runs (GArray *runs, guint32 cluster)
{
  FatRun run = {cluster, 1};
  FatRun *last = runs->len ? &g_array_index (runs, FatRun, runs->len - 1) : NULL;

  if (last && last->first + last->count == cluster)
    last->count++;
  else
    g_array_append_val (runs, run);
}

gboolean
h2k_fat_collect (FatFs *fat, guint32 first, guint64 max, GArray *runs, guint64 *count,
                 GError **error)
{
  guint32 cluster = first, met = 0;

  *count = 0;
  if (first && (first < 2 || first >= fat->layout.end))
    return h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters begins nowhere");
  while (cluster && *count < max)
    {
      /* In a ring the cluster that is remembered, of ever later ones, is met again. */
      if (cluster == met)
        return h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters is a ring");
      ++*count;
      if ((*count & (*count - 1)) == 0)
        met = cluster;
      add_to_runs (runs, cluster);
      if (*count < max && !h2k_fat_next (fat, cluster, &cluster, error))
        return FALSE;
    }
  return TRUE;
}

guint32
h2k_fat_last_of (const GArray *runs)
{
  const FatRun *last = runs->len ? &g_array_index (runs, FatRun, runs->len - 1) : NULL;

  return last ? last->first + last->count - 1 : 0;
}

gboolean
h2k_fat_extend (FatFs *fat, guint32 tail, guint64 count, GArray *runs, GError **error)
{
  guint64 end = fat->layout.end, cluster = tail ? tail + 1 : fat->next_free;

  for (guint64 looked_at = 2; count && looked_at < end; looked_at++, cluster++)
    {
      guint32 entry;
      if (cluster < 2 || cluster >= end)
        cluster = 2;
      if (!h2k_fat_get (fat, (guint32)cluster, &entry, error))
        return FALSE;
      if (entry)
        continue;
      if ((tail && !set_entry (fat, tail, (guint32)cluster, error))
          || !set_entry (fat, (guint32)cluster, h2k_fat_ones (&fat->layout), error))
        return FALSE;
      add_to_runs (runs, (guint32)cluster);
      tail = (guint32)cluster;
      count--;
    }
  if (count == 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: the guest's filesystem is full; free some space in the guest first",
               fat->base.volume->name);
  return FALSE;
}

gboolean
h2k_fat_cut (FatFs *fat, const GArray *runs, guint64 keep, GError **error)
{
  guint64 at = 0;

  for (guint i = 0; i < runs->len; i++)
    {
      const FatRun *run = &g_array_index (runs, FatRun, i);
      for (guint32 k = 0; k < run->count; k++, at++)
        if (at + 1 >= keep
            && !set_entry (fat, run->first + k, at + 1 == keep ? h2k_fat_ones (&fat->layout) : 0,
                           error))
          return FALSE;
    }
  return TRUE;
}

gboolean
h2k_fat_count_free (FatFs *fat, guint64 *count, GError **error)
{
  *count = 0;
  for (guint32 cluster = 2; fat->free_clusters < 0 && cluster < fat->layout.end; cluster++)
    {
      guint32 entry;
      if (!h2k_fat_get (fat, cluster, &entry, error))
        return FALSE;
      *count += entry == 0;
    }
  if (fat->free_clusters < 0)
    fat->free_clusters = (gint64)*count;
  *count = (guint64)fat->free_clusters;
  return TRUE;
}

/* --- writing ---------------------------------------------------------------------------------- */

gboolean
h2k_fat_overwrite (FatFs *fat, guint64 offset, gsize length, const guint8 *data, GError **error)
{
  FatOld *old = g_malloc (sizeof *old + length);

  old->at = offset;
  old->length = length;
  if (!h2k_disk_pread (fat->base.volume, offset, length, old->data, error))
    {
      g_free (old);
      return FALSE;
    }
  /* Kept before it is written to: of a write that fails, a part may be done. */
  g_ptr_array_add (fat->undo, old);
  return h2k_disk_pwrite (fat->base.volume, offset, length, data, error);
}

void
h2k_fat_undo (FatFs *fat)
{
  gboolean ok = TRUE;

  /* What was written before something that stays has to stay, too. */
  for (guint i = fat->undo->len; ok && i > 0; i--)
    {
      const FatOld *old = fat->undo->pdata[i - 1];
      ok = h2k_disk_pwrite (fat->base.volume, old->at, old->length, old->data, NULL);
    }
  g_ptr_array_set_size (fat->undo, 0);
  fat->window = NULL;
  g_hash_table_remove_all (fat->windows);
}

static int
compare_windows (gconstpointer a, gconstpointer b)
{
  const FatWindow *p = *(const FatWindow *const *)a, *q = *(const FatWindow *const *)b;

  return p->index < q->index ? -1 : p->index > q->index;
}

/* Write the sectors of WINDOW that were changed: so the copies come to agree about them. */
static gboolean
write_window (FatFs *fat, FatWindow *window, GError **error)
{
  const H2kFatLayout *layout = &fat->layout;
  gsize length, from = window->from / layout->sector * layout->sector;
  guint64 at = h2k_fat_window_at (layout, window->index, &length);
  gsize to = (window->to + layout->sector - 1) / layout->sector * layout->sector;

  to = MIN (to, length);
  for (guint i = 0; i < layout->copies; i++)
    if (!h2k_fat_overwrite (fat, layout->table + i * layout->table_size + at + from, to - from,
                            window->data + from, error))
      return FALSE;
  window->from = window->to = 0;
  return TRUE;
}

gboolean
h2k_fat_commit (FatFs *fat, GError **error)
{
  g_autoptr (GPtrArray) windows = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init (&iter, fat->windows);
  while (g_hash_table_iter_next (&iter, NULL, &value))
    if (is_pending (NULL, value, NULL))
      g_ptr_array_add (windows, value);
  g_ptr_array_sort (windows, compare_windows);
  for (guint i = 0; i < windows->len; i++)
    if (!write_window (fat, g_ptr_array_index (windows, i), error))
      return FALSE;
  if (fat->free_clusters >= 0)
    fat->free_clusters += fat->pending;
  if (fat->info_free >= 0)
    fat->info_free += fat->pending;
  if (fat->pending < 0)
    fat->next_free = fat->pending_next;
  fat->pending = 0;
  fat->pending_next = 0;
  return TRUE;
}

/* --- what is in the clusters ------------------------------------------------------------------ */

static gboolean
transfer_at (FatFs *fat, FatTransfer what, guint64 offset, guint64 length, guint8 *buffer,
             GError **error)
{
  switch (what)
    {
    case FAT_READ:
      return h2k_disk_pread (fat->base.volume, offset, (gsize)length, buffer, error);
    case FAT_WRITE:
      return h2k_disk_pwrite (fat->base.volume, offset, (gsize)length, buffer, error);
    case FAT_REPLACE:
      return h2k_fat_overwrite (fat, offset, (gsize)length, buffer, error);
    case FAT_ZERO:
    default:
      return h2k_disk_zero (fat->base.volume, offset, length, error);
    }
}

gboolean
h2k_fat_transfer (FatFs *fat, FatTransfer what, const GArray *runs, guint64 offset, guint64 length,
                  guint8 *buffer, GError **error)
{
  for (guint i = 0; i < runs->len && length; i++)
    {
      const FatRun *run = &g_array_index (runs, FatRun, i);
      guint64 bytes = (guint64)run->count * fat->layout.cluster, n;
      guint64 at = fat->layout.data + (guint64)(run->first - 2) * fat->layout.cluster;

      if (offset >= bytes)
        {
          offset -= bytes;
          continue;
        }
      n = MIN (length, bytes - offset);
      if (!transfer_at (fat, what, at + offset, n, buffer, error))
        return FALSE;
      buffer = buffer ? buffer + n : NULL;
      length -= n;
      offset = 0;
    }
  return length == 0 || h2k_fat_corrupt (fat->base.volume, error, "a chain of clusters is short");
}
