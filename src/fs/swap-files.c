/* swap-files.c - where the swap files of a filesystem keep what was swapped out.
 *
 * Swap files are known by their header, and by a name with "swap" in it at the places where
 * installers and administrators put them: an image of a swap partition that somebody keeps as a
 * file is not one. Where their blocks lie only the filesystem's driver knows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"

#include <sys/stat.h>

#define MAX_SUBVOLUMES 1000u
#define MAX_FILES 64u /* looking each one up walks the folder */

static const char *const folders[] = {"/", "/swap"};

static gboolean
has_swap_name (const char *name)
{
  g_autofree char *lower = g_ascii_strdown (name, -1);

  return strstr (lower, "swap") != NULL;
}

/* Whether the file is a swap space; START and END are what of it means nothing. */
static gboolean
is_swap_file (H2kFs *fs, const char *path, guint64 *start, guint64 *end)
{
  g_autoptr (GBytes) header = NULL;
  const guint8 *data;
  gsize length;
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, NULL) || !S_ISREG (st.mode))
    return FALSE;
  header = fs->ops->read (fs, path, 0, (gsize)MIN (st.size, H2K_SWAP_HEADER), NULL);
  data = header ? g_bytes_get_data (header, &length) : NULL;
  return data && h2k_swap_parse (path, data, length, st.size, start, end, NULL);
}

static void
look_at_file (H2kFs *fs, H2kSwapPlaces places, const char *path, GArray *ranges)
{
  guint before = ranges->len;
  guint64 start, end;

  if (!is_swap_file (fs, path, &start, &end))
    return;
  if (places (fs, path, start, end, ranges))
    return;
  g_autofree char *safe = h2k_escape_text (path, -1);
  g_info ("%s: %s is kept: where it lies is not clear", fs->volume->name, safe);
  g_array_set_size (ranges, before);
}

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const H2kExtent *p = a, *q = b;

  return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* Blocks that two files claim are nobody's to drop. */
static gboolean
overlap (const GArray *ranges)
{
  for (guint i = 1; i < ranges->len; i++)
    {
      const H2kExtent *last = &g_array_index (ranges, H2kExtent, i - 1);
      if (g_array_index (ranges, H2kExtent, i).offset < last->offset + last->length)
        return TRUE;
    }
  return FALSE;
}

/* Look below ROOT: of the filesystem, or of a subvolume. */
static void
look_below (H2kFs *fs, H2kSwapPlaces places, const char *root, guint *files, GArray *ranges)
{
  for (gsize i = 0; i < G_N_ELEMENTS (folders); i++)
    {
      g_autofree char *folder = g_build_filename (root, folders[i], NULL);
      g_autoptr (GPtrArray) names = fs->ops->list (fs, folder, NULL);

      for (guint n = 0; names && n < names->len; n++)
        if (has_swap_name (names->pdata[n]) && (*files)++ < MAX_FILES)
          {
            g_autofree char *path = g_build_filename (folder, names->pdata[n], NULL);
            look_at_file (fs, places, path, ranges);
          }
    }
}

GArray *
h2k_swap_files_find (H2kFs *fs, H2kSwapPlaces places)
{
  g_autoptr (GArray) ranges = g_array_new (FALSE, FALSE, sizeof (H2kExtent));
  g_autoptr (GPtrArray) subvolumes = fs->ops->subvolumes ? fs->ops->subvolumes (fs, NULL) : NULL;
  guint files = 0;

  if (!fs->ops->subvolumes)
    look_below (fs, places, "/", &files, ranges);
  for (guint i = 0; subvolumes && i < MIN (subvolumes->len, MAX_SUBVOLUMES); i++)
    {
      const H2kSubvolume *subvolume = subvolumes->pdata[i];
      if (!subvolume->is_readonly)
        look_below (fs, places, subvolume->path, &files, ranges);
    }
  g_array_sort (ranges, compare_ranges);
  if (overlap (ranges))
    g_array_set_size (ranges, 0);
  return g_steal_pointer (&ranges);
}

GArray *
h2k_swap_files_of (const H2kFsOps *ops, H2kDisk *volume, const H2kFsId *id, H2kSwapPlaces places)
{
  g_autoptr (H2kFs) fs = id ? ops->open (volume, id, NULL) : NULL;

  return fs ? h2k_swap_files_find (fs, places) : g_array_new (FALSE, FALSE, sizeof (H2kExtent));
}

gboolean
h2k_swap_files_add (GArray *ranges, guint64 offset, guint64 length)
{
  H2kExtent *last = ranges->len ? &g_array_index (ranges, H2kExtent, ranges->len - 1) : NULL;
  H2kExtent range = {offset, length, H2K_EXTENT_UNALLOCATED};

  if (last && last->offset + last->length == offset)
    last->length += length;
  else if (ranges->len < H2K_SWAP_MAX_RANGES)
    g_array_append_val (ranges, range);
  else
    return FALSE;
  return TRUE;
}

void
h2k_swap_files_leave_out (const GArray *ranges, H2kExtent *extent)
{
  guint low = 0, high = ranges->len;
  const H2kExtent *range;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      range = &g_array_index (ranges, H2kExtent, middle);
      if (range->offset + range->length <= extent->offset)
        low = middle + 1;
      else
        high = middle;
    }
  if (low == ranges->len)
    return;
  range = &g_array_index (ranges, H2kExtent, low);
  if (range->offset > extent->offset)
    extent->length = MIN (extent->length, range->offset - extent->offset);
  else
    {
      extent->length = MIN (extent->length, range->offset + range->length - extent->offset);
      extent->kind = H2K_EXTENT_UNALLOCATED;
    }
}
