/* vmdk-delta-image.h - writes the extents that ESX makes for snapshots, COWD and seSparse, with
 * random layouts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

#define SECTOR 512
#define ENTRIES 4096

typedef enum
{
  COWD,
  SESPARSE,
} DeltaKind;

typedef enum
{
  GRAIN_DATA,
  GRAIN_ZERO,     /* seSparse only, as the next */
  GRAIN_UNMAPPED, /* by the guest's UNMAP */
} GrainState;

typedef struct
{
  DeltaKind kind;
  guint64 sectors;
  guint grain;      /* bytes */
  guint area;       /* sectors that each part of an seSparse file's front has */
  guint next_table; /* seSparse */
  GByteArray *file;
} Delta;

static inline void
delta_clear (Delta *delta)
{
  g_byte_array_unref (delta->file);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Delta, delta_clear)

static inline void
delta_put_le (guint8 *p, guint64 value, guint bytes)
{
  for (guint i = 0; i < bytes; i++)
    p[i] = (guint8)(value >> (8 * i));
}

static inline void
delta_grow (Delta *delta, gsize bytes)
{
  guint old = delta->file->len;

  g_byte_array_set_size (delta->file, old + (guint)bytes);
  memset (delta->file->data + old, 0, bytes);
}

static inline guint64
delta_tables (const Delta *delta)
{
  guint64 reach = (guint64)delta->grain * ENTRIES;

  return (delta->sectors * SECTOR + reach - 1) / reach;
}

/* The parts of an seSparse file, in sectors, in the order of the log that ESXi writes: a header
 * each, journal, directory, tables, bitmap, back map, grains. */
static inline guint64
delta_part (const Delta *delta, guint i)
{
  return i == 0 ? 1 : i == 1 ? 2 : (guint64)delta->area * (i - 1);
}

#define PART_DIRECTORY 3
#define PART_TABLES 4
#define PART_GRAINS 7

static inline Delta
delta_new_cowd (guint64 sectors, guint grain_sectors)
{
  Delta delta = {COWD, sectors, grain_sectors * SECTOR, 0, 0, g_byte_array_new ()};
  guint8 *p;

  delta_grow (&delta, 4 * SECTOR + (delta_tables (&delta) * 4 + SECTOR - 1) / SECTOR * SECTOR);
  p = delta.file->data;
  memcpy (p, "COWD", 4);
  delta_put_le (p + 4, 1, 4);
  delta_put_le (p + 8, 3, 4);
  delta_put_le (p + 12, sectors, 4);
  delta_put_le (p + 16, grain_sectors, 4);
  delta_put_le (p + 20, 4, 4);
  delta_put_le (p + 24, delta_tables (&delta), 4);
  delta_put_le (p + 28, delta.file->len / SECTOR, 4);
  return delta;
}

/* AREA is 2048 in ESXi's files; small files need no more than fits. */
static inline Delta
delta_new_sesparse (guint64 sectors, guint area)
{
  Delta delta = {SESPARSE, sectors, 8 * SECTOR, area, 0, g_byte_array_new ()};
  guint8 *p;

  delta_grow (&delta, delta_part (&delta, PART_GRAINS) * SECTOR);
  p = delta.file->data;
  delta_put_le (p, 0xcafebabe, 8);
  delta_put_le (p + 8, G_GUINT64_CONSTANT (0x200000001), 8);
  delta_put_le (p + 16, sectors, 8);
  delta_put_le (p + 24, 8, 8);
  delta_put_le (p + 32, 64, 8);
  for (guint i = 0; i <= PART_GRAINS; i++)
    {
      delta_put_le (p + 0x50 + i * 16, delta_part (&delta, i), 8);
      delta_put_le (p + 0x58 + i * 16, i < 2 ? 1 : i == PART_GRAINS ? sectors : area, 8);
    }
  delta_put_le (p + SECTOR, 0xcafecafe, 8);
  return delta;
}

static inline Delta
delta_new (DeltaKind kind, guint64 sectors, guint grain_sectors)
{
  /* Room for every table. */
  guint area = (guint)((sectors / (8 * ENTRIES) + 1) * 64);

  return kind == COWD ? delta_new_cowd (sectors, grain_sectors)
                      : delta_new_sesparse (sectors, area);
}

/* Where the directory's entry of table T is. */
static inline guint64
delta_directory_at (const Delta *delta, guint64 t)
{
  return delta->kind == COWD ? 4 * SECTOR + t * 4
                             : delta_part (delta, PART_DIRECTORY) * SECTOR + t * 8;
}

/* Where GRAIN's table starts in the file; it is made when it is not there. */
static inline guint64
delta_table_at (Delta *delta, guint64 t)
{
  guint64 at = delta_directory_at (delta, t), entry;

  if (delta->kind == COWD)
    {
      entry = h2k_le32 (delta->file->data + at);
      if (entry == 0)
        {
          entry = delta->file->len / SECTOR;
          delta_grow (delta, ENTRIES * 4);
          delta_put_le (delta->file->data + at, entry, 4);
        }
      return entry * SECTOR;
    }
  entry = h2k_le64 (delta->file->data + at);
  if (entry == 0)
    {
      entry = delta->next_table++;
      delta_put_le (delta->file->data + at, entry | (G_GUINT64_CONSTANT (1) << 60), 8);
    }
  return delta_part (delta, PART_TABLES) * SECTOR + (entry & 0xffffffff) * ENTRIES * 8;
}

/* Where the entry of GRAIN is. */
static inline guint64
delta_entry_at (Delta *delta, guint64 grain)
{
  return delta_table_at (delta, grain / ENTRIES) + grain % ENTRIES * (delta->kind == COWD ? 4 : 8);
}

/* The entry of an seSparse table for the grain NUMBER of the file. */
static inline guint64
delta_swizzle (guint64 number)
{
  return (G_GUINT64_CONSTANT (3) << 60) | (number & 0xfff) << 48 | number >> 12;
}

/* Write GRAIN, whose whole content is DATA, at the file's end, now and then behind a gap. What is
 * in the file already is written anew. */
static inline void
delta_put_grain (Delta *delta, guint64 grain, const guint8 *data, GrainState state)
{
  guint64 at = delta_entry_at (delta, grain), number;

  if (state != GRAIN_DATA)
    {
      /* What lies below the type is of no meaning there. */
      delta_put_le (delta->file->data + at,
                    (guint64)(state == GRAIN_ZERO ? 2 : 1) << 60
                        | (guint64)g_test_rand_int_range (0, 999),
                    8);
      return;
    }
  if (g_test_rand_int_range (0, 8) == 0)
    delta_grow (delta, (gsize)delta->grain * (guint)g_test_rand_int_range (1, 9));
  if (delta->kind == COWD)
    delta_put_le (delta->file->data + at, delta->file->len / SECTOR, 4);
  else
    {
      number = (delta->file->len - delta_part (delta, PART_GRAINS) * SECTOR) / delta->grain;
      delta_put_le (delta->file->data + at, delta_swizzle (number), 8);
    }
  delta_grow (delta, delta->grain);
  memcpy (delta->file->data + delta->file->len - delta->grain, data, delta->grain);
  if (delta->kind == COWD)
    delta_put_le (delta->file->data + 28, delta->file->len / SECTOR, 4);
}

/* Change runs of grains at random, and CONTENT, the disk's, accordingly. CONTENT has room for whole
 * grains. */
static inline void
delta_scribble (Delta *delta, guint8 *content, guint runs)
{
  const guint64 grains = (delta->sectors * SECTOR + delta->grain - 1) / delta->grain;

  for (guint r = 0; r < runs; r++)
    {
      guint64 first = (guint64)(g_test_rand_double () * (double)grains), n;
      guint state = (guint)g_test_rand_int_range (0, delta->kind == SESPARSE ? 6 : 4);

      if (r < 2) /* both ends */
        first = r ? grains - 1 : 0;
      n = (guint64)g_test_rand_int_range (1, r % 5 ? 4 : 40);
      n = MIN (n, grains - first);
      for (guint64 i = 0; i < n; i++)
        {
          /* Guests write in any order. */
          guint64 grain = r % 3 ? first + i : first + n - 1 - i;
          guint8 *p = content + grain * delta->grain;

          for (guint k = 0; k < delta->grain; k++)
            p[k] = state < 4 ? (guint8)(r + k / 7 * 13 + grain) : 0;
          delta_put_grain (delta, grain, p,
                           state < 4    ? GRAIN_DATA
                           : state == 4 ? GRAIN_ZERO
                                        : GRAIN_UNMAPPED);
        }
    }
}

/* The descriptor of an extent FILE of SECTORS; HINT NULL: it has no parent. The caller's. */
static inline char *
delta_descriptor (DeltaKind kind, guint64 sectors, const char *file, guint32 cid,
                  guint32 parent_cid, const char *hint)
{
  g_autofree char *parent
      = hint ? g_strdup_printf ("parentFileNameHint=\"%s\"\n", hint) : g_strdup ("");

  return g_strdup_printf (
      "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%08x\nparentCID=%08x\n"
      "isNativeSnapshot=\"no\"\ncreateType=\"%s\"\n%s# Extent description\n"
      "RW %" G_GUINT64_FORMAT
      " %s \"%s\"\n\n# Change Tracking File\n\n# The Disk Data Base\n#DDB\n\n"
      "ddb.longContentID = \"d0fbc8d2a2e7ee3d7eff8b8d%08x\"\n",
      cid, hint ? parent_cid : 0xffffffff, kind == COWD ? "vmfsSparse" : "seSparse", parent,
      sectors, kind == COWD ? "VMFSSPARSE" : "SESPARSE", file, cid);
}
