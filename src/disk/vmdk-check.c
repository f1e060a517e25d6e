/* vmdk-check.c - whether a hosted sparse extent is consistent: every grain is in the file, alone in
 * its place and, when it is compressed, can be decompressed; the redundant tables say the same as
 * the tables.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/vmdk-hosted.h"

typedef struct
{
  H2kVmdkHosted *s;
  H2kCheck *check;
  H2kClaims *claims; /* sectors of the file */
  guint8 *packed, *grain;
} Check;

static guint64
sectors_of (guint64 bytes)
{
  return (bytes + H2K_VMDK_SECTOR - 1) / H2K_VMDK_SECTOR;
}

static void
take (Check *c, guint64 sector, guint64 bytes, const char *what, guint64 number)
{
  c->check->image_end = MAX (c->check->image_end, (sector + sectors_of (bytes)) * H2K_VMDK_SECTOR);
  if (!h2k_claims_take (c->claims, sector, sectors_of (bytes)))
    h2k_check_corrupt (c->check,
                       "%s %" G_GUINT64_FORMAT " at sector %" G_GUINT64_FORMAT
                       " of %s overlaps something else",
                       what, number, sector, c->s->name);
}

/* --- grains ----------------------------------------------------------------------------------- */

/* The compressed grain at ENTRY. Sets BYTES to what it takes in the file, 0 when that is not known.
 */
static gboolean
check_compressed (Check *c, guint64 grain, guint32 entry, guint64 *bytes, GError **error)
{
  H2kVmdkHosted *s = c->s;
  guint64 at = (guint64)entry * H2K_VMDK_SECTOR;
  g_autoptr (GError) failure = NULL;
  gsize size = 0;

  *bytes = 0;
  if (h2k_file_pread (s->file, at, sizeof (H2kVmdkGrainMarker), c->packed, &failure))
    size = h2k_vmdk_hosted_check_marker (s, grain, entry, c->packed, &failure);
  if (size)
    *bytes = sizeof (H2kVmdkGrainMarker) + size;
  if (!h2k_claims_first (c->claims))
    return TRUE;
  c->check->compressed++;
  if (size && h2k_file_pread (s->file, at + sizeof (H2kVmdkGrainMarker), size, c->packed, &failure))
    h2k_vmdk_hosted_inflate (s, grain, entry, c->packed, size, c->grain, &failure);
  return !failure || h2k_check_failure (c->check, g_steal_pointer (&failure), error);
}

static gboolean
check_grain (Check *c, guint64 grain, guint32 entry, GError **error)
{
  const H2kVmdkHosted *s = c->s;
  guint64 sector = entry, offset = grain * s->base.grain_size;
  guint64 bytes = MIN (s->base.grain_size, s->base.size - offset);

  if (h2k_claims_first (c->claims))
    c->check->allocated++;
  if (s->base.compressed)
    {
      if (!check_compressed (c, grain, entry, &bytes, error))
        return FALSE;
    }
  else if (sector * H2K_VMDK_SECTOR > s->file->size
           || bytes > s->file->size - sector * H2K_VMDK_SECTOR)
    {
      if (h2k_claims_first (c->claims))
        h2k_check_corrupt (c->check,
                           "grain %" G_GUINT64_FORMAT " at sector %u is not inside the file %s",
                           grain, entry, s->name);
      return TRUE;
    }
  if (bytes)
    take (c, sector, bytes, "grain", grain);
  return TRUE;
}

/* --- tables ----------------------------------------------------------------------------------- */

/* Compare table I with the redundant one, at SECTOR. Only the sectors of tables differ. */
static gboolean
check_copy (Check *c, guint64 i, guint32 sector, const H2kVmdkBlock *table, GError **error)
{
  H2kVmdkHosted *s = c->s;
  gsize bytes = h2k_vmdk_hosted_table_entries (s, i) * 4;
  g_autofree guint8 *copy = g_malloc (bytes);
  g_autoptr (GError) failure = NULL;

  if (sector == s->directory[i]) /* there are writers that have one set of tables */
    return TRUE;
  take (c, sector, bytes, "redundant grain table", i);
  if (!h2k_claims_first (c->claims))
    return TRUE;
  if (!h2k_file_pread (s->file, (guint64)sector * H2K_VMDK_SECTOR, bytes, copy, &failure))
    return h2k_check_failure (c->check, g_steal_pointer (&failure), error);
  if (memcmp (copy, table->data, bytes) != 0)
    h2k_check_corrupt (c->check,
                       "grain table %" G_GUINT64_FORMAT " of %s and its redundant copy differ", i,
                       s->name);
  return TRUE;
}

static gboolean
check_table (Check *c, guint64 i, const guint8 *redundant, GError **error)
{
  H2kVmdkHosted *s = c->s;
  guint32 copy = redundant ? h2k_le32 (redundant + i * 4) : s->directory[i];
  gboolean has_copy = copy > H2K_VMDK_GTE_ZERO;
  guint entries = h2k_vmdk_hosted_table_entries (s, i);
  g_autoptr (H2kVmdkBlock) table = NULL;

  if (h2k_vmdk_hosted_has_table (s, i) != has_copy && h2k_claims_first (c->claims))
    h2k_check_corrupt (
        c->check, "only one of the two grain directories of %s has the table %" G_GUINT64_FORMAT,
        s->name, i);
  if (!h2k_vmdk_hosted_has_table (s, i))
    return TRUE;
  table = h2k_vmdk_hosted_get_table (s, i, error);
  if (!table)
    return FALSE;
  take (c, s->directory[i], entries * 4, "grain table", i);
  if (has_copy && !check_copy (c, i, copy, table, error))
    return FALSE;
  for (guint e = 0; e < entries; e++)
    {
      guint32 entry = h2k_vmdk_hosted_entry (table, e);
      if (h2k_vmdk_hosted_entry_kind (s, entry) == H2K_EXTENT_DATA
          && !check_grain (c, i * H2K_VMDK_TABLE_ENTRIES + e, entry, error))
        return FALSE;
    }
  return TRUE;
}

/* The redundant directory, the caller's; NULL without an error: there is none that counts. */
static guint8 *
read_redundant (Check *c, GError **error)
{
  H2kVmdkHosted *s = c->s;
  gsize bytes = (gsize)s->base.tables * 4;
  g_autoptr (GError) failure = NULL;
  g_autofree guint8 *directory = NULL;

  if (s->by_copy || s->rgd_sector == 0 || s->rgd_sector == s->gd_sector)
    return NULL;
  if (s->rgd_sector > s->file->size / H2K_VMDK_SECTOR)
    {
      h2k_check_corrupt (c->check, "the redundant grain directory of %s is not in the file",
                         s->name);
      return NULL;
    }
  directory = g_malloc (bytes);
  if (h2k_file_pread (s->file, s->rgd_sector * H2K_VMDK_SECTOR, bytes, directory, &failure))
    return g_steal_pointer (&directory);
  h2k_check_failure (c->check, g_steal_pointer (&failure), error);
  return NULL;
}

static gboolean
check_tables (Check *c, const guint8 *redundant, GError **error)
{
  H2kVmdkHosted *s = c->s;
  guint64 bytes = (guint64)s->base.tables * 4;

  do
    {
      take (c, 0, H2K_VMDK_SECTOR, "header", 0);
      if (s->descriptor_size)
        take (c, s->descriptor_offset / H2K_VMDK_SECTOR, s->descriptor_size, "descriptor", 0);
      take (c, s->by_copy ? s->rgd_sector : s->gd_sector, bytes, "grain directory", 0);
      if (redundant)
        take (c, s->rgd_sector, bytes, "redundant grain directory", 0);
      for (guint32 i = 0; i < s->base.tables; i++)
        if (!check_table (c, i, redundant, error))
          return FALSE;
    }
  while (h2k_claims_next (c->claims));
  return TRUE;
}

gboolean
h2k_vmdk_hosted_check (H2kVmdkSparse *sparse, H2kCheck *check, GError **error)
{
  H2kVmdkHosted *s = (H2kVmdkHosted *)sparse;
  g_autoptr (H2kClaims) claims = h2k_claims_new (s->file->size / H2K_VMDK_SECTOR + 1);
  g_autofree guint8 *packed = g_malloc (2 * (gsize)s->base.grain_size);
  g_autofree guint8 *grain = g_malloc (s->base.grain_size), *redundant = NULL;
  g_autoptr (GError) failure = NULL;
  Check c = {s, check, claims, packed, grain};

  check->unit = "grains";
  check->units += s->grains;
  if (s->by_copy)
    h2k_check_corrupt (check, "the grain directory of %s is damaged; its redundant copy is used",
                       s->name);
  redundant = read_redundant (&c, &failure);
  if (failure)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
  return check_tables (&c, redundant, error);
}
