/* fat-dir.c - directories of FAT: slots of 32 bytes, of which a file has one for itself and, before
 * that, one for each 13 characters of its long name, the last part first.
 *
 * A directory is held in memory as a whole: it has 65536 slots at most.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fat.h"

#define MAX_SLOTS 65536u
#define UNITS_PER_SLOT 13u
#define LAST_PART 0x40u /* in the first byte of a long name's first slot: it has the last part */

/* Where a slot has its characters. */
static const guint8 unit_at[UNITS_PER_SLOT] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};

static guint8 *
slot_of (const FatDir *dir, guint i)
{
  return dir->slots + (gsize)i * H2K_FAT_SLOT;
}

/* --- reading ---------------------------------------------------------------------------------- */

FatDir *
h2k_fat_dir_ref (FatDir *dir)
{
  return g_rc_box_acquire (dir);
}

static void
dir_clear (gpointer data)
{
  FatDir *dir = data;

  g_array_unref (dir->runs);
  g_free (dir->slots);
}

void
h2k_fat_dir_unref (FatDir *dir)
{
  if (dir)
    g_rc_box_release_full (dir, dir_clear);
}

static gboolean
read_slots (FatFs *fat, FatDir *dir, GError **error)
{
  guint64 max = (guint64)MAX_SLOTS * H2K_FAT_SLOT / fat->layout.cluster, count;
  gsize bytes;

  if (dir->first == 0)
    {
      dir->n = (guint)(fat->layout.root_size / H2K_FAT_SLOT);
      dir->slots = g_malloc (fat->layout.root_size);
      return h2k_disk_pread (fat->base.volume, fat->layout.root, fat->layout.root_size, dir->slots,
                             error);
    }
  if (!h2k_fat_collect (fat, dir->first, max + 1, dir->runs, &count, error))
    return FALSE;
  if (count > max)
    return h2k_fat_corrupt (fat->base.volume, error, "a directory is too large");
  bytes = (gsize)count * fat->layout.cluster;
  dir->n = (guint)(bytes / H2K_FAT_SLOT);
  dir->slots = g_malloc (bytes);
  return h2k_fat_transfer (fat, FAT_READ, dir->runs, 0, bytes, dir->slots, error);
}

FatDir *
h2k_fat_dir_load (FatFs *fat, guint32 first, GError **error)
{
  g_autoptr (FatDir) dir = g_rc_box_new0 (FatDir);

  dir->first = first;
  dir->runs = g_array_new (FALSE, FALSE, sizeof (FatRun));
  if (!read_slots (fat, dir, error))
    return NULL;
  while (dir->end < dir->n && slot_of (dir, dir->end)[0])
    dir->end++;
  memset (slot_of (dir, dir->end), 0, (gsize)(dir->n - dir->end) * H2K_FAT_SLOT);
  return g_steal_pointer (&dir);
}

void
h2k_fat_file_clear (FatFile *file)
{
  g_clear_pointer (&file->dir, h2k_fat_dir_unref);
}

/* The parts of a long name as they come. */
typedef struct
{
  guint parts; /* 0: there is none */
  guint left;  /* that must still come */
  guint first; /* slot */
  guint8 sum;
  guint16 units[20 * UNITS_PER_SLOT];
} LongName;

static void
add_part (LongName *name, const guint8 *slot, guint i)
{
  guint number = slot[SLOT_NAME] & 0x3f;

  if (slot[SLOT_NAME] & LAST_PART)
    {
      name->parts = name->left = number > 0 && number <= 20 ? number : 0;
      name->first = i;
      name->sum = slot[13];
    }
  if (name->parts == 0 || number == 0 || number != name->left || slot[13] != name->sum)
    {
      name->parts = 0;
      return;
    }
  name->left--;
  for (guint k = 0; k < UNITS_PER_SLOT; k++)
    name->units[(number - 1) * UNITS_PER_SLOT + k] = h2k_le16 (slot + unit_at[k]);
}

static gboolean
is_dot (const guint8 *slot)
{
  return memcmp (slot, ".          ", 11) == 0 || memcmp (slot, "..         ", 11) == 0;
}

static gboolean
is_part (const guint8 *slot)
{
  return (slot[SLOT_ATTRIBUTES] & FAT_ATTRIBUTES) == FAT_LONG_NAME;
}

/* Long names that belong to no file are left where they are. */
gboolean
h2k_fat_dir_next (const FatDir *dir, guint *at, FatFile *file)
{
  LongName name = {0};

  for (guint i = *at; i < dir->end; i++)
    {
      const guint8 *slot = slot_of (dir, i);
      gboolean complete = name.parts && name.left == 0;

      if (slot[SLOT_NAME] == SLOT_DELETED)
        name.parts = 0;
      else if (is_part (slot))
        add_part (&name, slot, i);
      else if ((slot[SLOT_ATTRIBUTES] & FAT_LABEL) || is_dot (slot))
        name.parts = 0;
      else
        {
          gboolean fits = complete && name.sum == h2k_fat_name_sum (slot);
          file->first = fits ? name.first : i;
          file->slot = i;
          memcpy (file->raw, slot, H2K_FAT_SLOT);
          h2k_fat_decode_short (slot, file->alias);
          if (!fits
              || !h2k_fat_decode_long (name.units,
                                       MIN (name.parts * UNITS_PER_SLOT, H2K_FAT_MAX_UNITS),
                                       file->name))
            memcpy (file->name, file->alias, sizeof file->name);
          *at = i + 1;
          return TRUE;
        }
    }
  *at = dir->end;
  return FALSE;
}

gboolean
h2k_fat_dir_find (FatDir *dir, const char *name, FatFile *file)
{
  guint at = 0;

  if (!g_utf8_validate (name, -1, NULL))
    return FALSE;
  while (h2k_fat_dir_next (dir, &at, file))
    if (h2k_fat_same_name (file->name, name) || h2k_fat_same_name (file->alias, name))
      {
        file->dir = h2k_fat_dir_ref (dir);
        return TRUE;
      }
  return FALSE;
}

guint64
h2k_fat_dir_offset (const FatFs *fat, const FatDir *dir, guint i)
{
  guint64 offset = (guint64)i * H2K_FAT_SLOT;

  for (guint k = 0; k < dir->runs->len; k++)
    {
      const FatRun *run = &g_array_index (dir->runs, FatRun, k);
      guint64 bytes = (guint64)run->count * fat->layout.cluster;
      if (offset < bytes)
        return fat->layout.data + (guint64)(run->first - 2) * fat->layout.cluster + offset;
      offset -= bytes;
    }
  return fat->layout.root + offset;
}

/* --- changing --------------------------------------------------------------------------------- */

static void
touch_slots (FatDir *dir, guint from, guint to)
{
  dir->from = dir->to > dir->from ? MIN (dir->from, from) : from;
  dir->to = MAX (dir->to, to);
}

/* Add the clusters that it takes to have SLOTS slots. */
static gboolean
grow (FatFs *fat, FatDir *dir, guint slots, const char *path, GError **error)
{
  guint per_cluster = fat->layout.cluster / H2K_FAT_SLOT, more;

  if (dir->first == 0)
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path,
                           "the root directory is full, and on a FAT filesystem of this kind it "
                           "cannot grow; remove something from it in the guest first");
  more = (slots - dir->n + per_cluster - 1) / per_cluster;
  if (dir->n + more * per_cluster > MAX_SLOTS)
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, "its directory is full");
  if (!h2k_fat_extend (fat, h2k_fat_last_of (dir->runs), more, dir->runs, error))
    return FALSE;
  dir->slots = g_realloc (dir->slots, (gsize)(dir->n + more * per_cluster) * H2K_FAT_SLOT);
  memset (slot_of (dir, dir->n), 0, (gsize)more * fat->layout.cluster);
  dir->n += more * per_cluster;
  dir->new_clusters += more;
  return TRUE;
}

/* Find COUNT free slots in a row, and make them if there are none. */
static gboolean
make_room (FatFs *fat, FatDir *dir, guint count, const char *path, guint *at, GError **error)
{
  guint run = 0;

  for (guint i = 0; i < dir->n && run < count; i++)
    {
      run = i >= dir->end || slot_of (dir, i)[0] == SLOT_DELETED ? run + 1 : 0;
      *at = i + 1 - run;
    }
  if (run == 0)
    *at = dir->n;
  return run == count || grow (fat, dir, *at + count, path, error);
}

static gboolean
is_taken (const FatDir *dir, const guint8 raw[11])
{
  for (guint i = 0; i < dir->end; i++)
    {
      const guint8 *slot = slot_of (dir, i);
      if (slot[0] != SLOT_DELETED && !is_part (slot) && memcmp (slot, raw, 11) == 0)
        return TRUE;
    }
  return FALSE;
}

/* Fill the slots for the N units of a long name. */
static void
put_long_name (FatDir *dir, guint at, const guint16 *units, guint n, guint8 sum)
{
  guint parts = (n + UNITS_PER_SLOT - 1) / UNITS_PER_SLOT;

  for (guint part = parts; part > 0; part--, at++)
    {
      guint8 *slot = slot_of (dir, at);
      memset (slot, 0, H2K_FAT_SLOT);
      slot[SLOT_NAME] = (guint8)(part | (part == parts ? LAST_PART : 0));
      slot[SLOT_ATTRIBUTES] = FAT_LONG_NAME;
      slot[13] = sum;
      for (guint k = 0; k < UNITS_PER_SLOT; k++)
        {
          guint i = (part - 1) * UNITS_PER_SLOT + k;
          guint16 unit = i < n ? units[i] : i == n ? 0 : 0xffff;
          memcpy (slot + unit_at[k], &unit, sizeof unit);
        }
    }
}

gboolean
h2k_fat_dir_add (FatFs *fat, FatDir *dir, const char *path, const char *name,
                 const guint8 raw[H2K_FAT_SLOT], GError **error)
{
  guint16 units[H2K_FAT_MAX_UNITS];
  char plain[H2K_FAT_NAME_BYTES];
  guint8 slot[H2K_FAT_SLOT];
  guint n = 0, at = 0, count;
  const char *why = h2k_fat_encode_long (name, units, &n);
  gboolean exact;

  if (why)
    return h2k_fat_refuse (fat, H2K_ERROR_FILESYSTEM, error, path, why);
  memcpy (slot, raw, sizeof slot);
  slot[SLOT_CASE] = 0;
  exact = h2k_fat_make_short (name, 0, slot) && !is_taken (dir, slot);
  for (guint attempt = 1; !exact && h2k_fat_make_short (name, attempt, slot); attempt++)
    if (!is_taken (dir, slot))
      break;
  h2k_fat_decode_short (slot, plain);
  count = 1 + (strcmp (plain, name) == 0 ? 0 : (n + UNITS_PER_SLOT - 1) / UNITS_PER_SLOT);
  if (!make_room (fat, dir, count, path, &at, error))
    return FALSE;
  if (count > 1)
    put_long_name (dir, at, units, n, h2k_fat_name_sum (slot));
  memcpy (slot_of (dir, at + count - 1), slot, H2K_FAT_SLOT);
  /* The mark of the end may be the first thing of what was never written. */
  touch_slots (dir, at, MIN (dir->n, at + count + (at + count > dir->end)));
  dir->end = MAX (dir->end, at + count);
  return TRUE;
}

void
h2k_fat_dir_remove (FatDir *dir, const FatFile *file)
{
  for (guint i = file->first; i <= file->slot; i++)
    slot_of (dir, i)[SLOT_NAME] = SLOT_DELETED;
  touch_slots (dir, file->first, file->slot + 1);
}

void
h2k_fat_dir_replace (const FatFile *file)
{
  memcpy (slot_of (file->dir, file->slot), file->raw, H2K_FAT_SLOT);
  touch_slots (file->dir, file->slot, file->slot + 1);
}

/* Write the slots from FROM to TO. */
static gboolean
write_slots (FatFs *fat, const FatDir *dir, guint from, guint to, GError **error)
{
  guint64 offset = (guint64)from * H2K_FAT_SLOT, length = (guint64)(to - from) * H2K_FAT_SLOT;

  if (to <= from)
    return TRUE;
  if (dir->first == 0)
    return h2k_fat_overwrite (fat, fat->layout.root + offset, (gsize)length, slot_of (dir, from),
                              error);
  return h2k_fat_transfer (fat, FAT_REPLACE, dir->runs, offset, length, slot_of (dir, from), error);
}

static guint
old_slots (const FatFs *fat, const FatDir *dir)
{
  return dir->n - (guint)dir->new_clusters * (fat->layout.cluster / H2K_FAT_SLOT);
}

gboolean
h2k_fat_dir_write_new (FatFs *fat, FatDir *dir, GError **error)
{
  return write_slots (fat, dir, old_slots (fat, dir), dir->n, error);
}

gboolean
h2k_fat_dir_write (FatFs *fat, FatDir *dir, GError **error)
{
  return write_slots (fat, dir, dir->from, MIN (dir->to, old_slots (fat, dir)), error);
}
