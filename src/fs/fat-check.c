/* fat-check.c - whether a FAT volume is consistent: its tables agree, and every chain of clusters
 * belongs to one file and is as long as that.
 *
 * Microsoft's "FAT File System Specification". Memory: a bit a cluster, 32 MiB at most.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat-check.h"
#include "fs/bits.h"
#include "fs/fat.h"

typedef struct
{
  FatFs *fat;
  H2kFsCheck *result;
  GCancellable *cancellable;
  guint64 n;     /* clusters, counted from 0 on */
  guint8 *taken; /* a bit a cluster */
  guint64 n_taken;
  GArray *dirs; /* guint32: first clusters of those that are still to be looked at */
} Check;

/* The disk's errors are errors (FALSE), those of the filesystem findings. Takes FAILURE. */
static gboolean
is_finding (Check *c, GError *failure, GError **error)
{
  if (!g_error_matches (failure, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      g_propagate_error (error, failure);
      return FALSE;
    }
  h2k_fs_check_corrupt (c->result, "%s", failure->message);
  g_error_free (failure);
  return TRUE;
}

/* Count the clusters that the table says are in use, and compare its copies. */
static gboolean
check_tables (Check *c, guint64 *in_use, GError **error)
{
  const H2kFatLayout *layout = &c->fat->layout;
  g_autofree guint8 *window = g_malloc (H2K_FAT_WINDOW_BYTES);
  guint32 bad = h2k_fat_ones (layout) - 8;

  *in_use = 0;
  for (guint64 index = 0; index * H2K_FAT_WINDOW < c->n; index++)
    {
      guint from = index ? 0 : 2, to = (guint)MIN (H2K_FAT_WINDOW, c->n - index * H2K_FAT_WINDOW);
      gboolean agree = TRUE;

      if (h2k_is_cancelled (c->cancellable, error)
          || !h2k_fat_read_window (c->fat->base.volume, layout, index, window, &agree, error))
        return FALSE;
      if (!agree)
        h2k_fs_check_corrupt (c->result,
                              "the copies of the file allocation table differ behind cluster %u",
                              (guint)index * H2K_FAT_WINDOW);
      for (guint i = from; i < to; i++)
        {
          guint32 entry = h2k_fat_entry (layout, window, i);
          *in_use += entry != 0 && entry != bad;
        }
    }
  return TRUE;
}

/* Take the chain that begins with FIRST. *LENGTH: in clusters; *WHOLE: it has an end, and nothing
 * else has a part of it. */
static gboolean
take_chain (Check *c, const char *name, guint32 first, guint64 *length, gboolean *whole,
            GError **error)
{
  g_autoptr (GError) local = NULL;
  guint32 cluster = first;

  *length = 0;
  *whole = FALSE;
  while (cluster)
    {
      /* The bound on an operation is meant for one file of a usual size. */
      if (*length % 4096 == 0)
        h2k_fat_begin (c->fat);
      if (*length % 65536 == 0 && h2k_is_cancelled (c->cancellable, error))
        return FALSE;
      if (cluster < 2 || cluster >= c->n)
        {
          h2k_fs_check_corrupt (c->result, "%s: its chain leads to cluster %u, which is not there",
                                name, cluster);
          return TRUE;
        }
      if (h2k_bit_get (c->taken, cluster))
        {
          h2k_fs_check_corrupt (c->result,
                                "%s: cluster %u of its chain is in a chain already: of another "
                                "file, or in a circle",
                                name, cluster);
          return TRUE;
        }
      c->taken[cluster / 8] |= (guint8)(1 << cluster % 8);
      c->n_taken++;
      ++*length;
      if (!h2k_fat_next (c->fat, cluster, &cluster, &local))
        {
          g_prefix_error (&local, "%s: ", name);
          return is_finding (c, g_steal_pointer (&local), error);
        }
    }
  *whole = TRUE;
  return TRUE;
}

static gboolean
check_file (Check *c, const FatFile *file, GError **error)
{
  guint32 first = h2k_fat_first (c->fat, file), size = h2k_fat_size (file);
  guint64 cluster = c->fat->layout.cluster, length = 0;
  const char *called = *file->name ? file->name : file->alias;
  g_autofree char *name = h2k_escape_text (called, -1);
  gboolean is_dir = h2k_fat_is_dir (file), whole = TRUE;

  if (is_dir && !first)
    h2k_fs_check_corrupt (c->result, "%s: a directory without a cluster", name);
  if (first && !take_chain (c, name, first, &length, &whole, error))
    return FALSE;
  if (!whole)
    return TRUE;
  if (is_dir && first)
    g_array_append_val (c->dirs, first);
  else if (!is_dir && length * cluster < size)
    h2k_fs_check_corrupt (c->result,
                          "%s: it has %u bytes, but its chain ends after %" G_GUINT64_FORMAT
                          " clusters",
                          name, size, length);
  else if (!is_dir && length && (length - 1) * cluster >= size)
    h2k_fs_check_note (c->result, "%s: it has more clusters than its %u bytes need", name, size);
  return TRUE;
}

static gboolean
check_dir (Check *c, guint32 first, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (FatDir) dir = NULL;
  guint at = 0;
  gboolean ok = TRUE;

  h2k_fat_begin (c->fat);
  dir = first ? h2k_fat_dir_load (c->fat, first, &local)
              : h2k_fat_open_dir (c->fat, &(FatFile){0}, "/", &local);
  if (!dir)
    return is_finding (c, g_steal_pointer (&local), error);
  while (ok)
    {
      g_auto (FatFile) file = {0};
      if (!h2k_fat_dir_next (dir, &at, &file))
        break;
      file.dir = h2k_fat_dir_ref (dir);
      ok = check_file (c, &file, error);
    }
  return ok && !h2k_is_cancelled (c->cancellable, error);
}

static gboolean
check_all (Check *c, GError **error)
{
  const H2kFatLayout *layout = &c->fat->layout;
  guint32 root = layout->root_size ? 0 : (guint32)layout->root;
  guint64 in_use, length;
  gboolean whole = TRUE;

  if (!check_tables (c, &in_use, error)
      || (root && !take_chain (c, "the root directory", root, &length, &whole, error)))
    return FALSE;
  if (!whole)
    return TRUE;
  root = 0;
  g_array_append_val (c->dirs, root);
  while (c->dirs->len)
    {
      guint32 first = g_array_index (c->dirs, guint32, c->dirs->len - 1);
      g_array_set_size (c->dirs, c->dirs->len - 1);
      if (!check_dir (c, first, error))
        return FALSE;
    }
  if (in_use > c->n_taken)
    h2k_fs_check_note (c->result, "%" G_GUINT64_FORMAT " clusters belong to no file",
                       in_use - c->n_taken);
  return TRUE;
}

gboolean
h2k_fat_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error)
{
  FatFs *fat = (FatFs *)fs;
  Check c = {.fat = fat, .result = check, .cancellable = cancellable};
  gboolean ok;

  c.n = fat->layout.end;
  c.taken = g_malloc0 (c.n / 8 + 1);
  c.dirs = g_array_new (FALSE, FALSE, sizeof (guint32));
  ok = check_all (&c, error);
  g_array_unref (c.dirs);
  g_free (c.taken);
  return ok;
}
