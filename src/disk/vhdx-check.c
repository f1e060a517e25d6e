/* vhdx-check.c - whether a VHDX image is consistent: both copies of what there are two of, and each
 * entry of the block allocation table. A log that has to be replayed is a note; the rest is looked
 * at as it will be then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/vhdx.h"

#define HEADER_BYTES 4096
#define PIECE 65536 /* bytes of the BAT, read at once */

static gboolean
check_copies (H2kFile *file, H2kCheck *check, GError **error)
{
  g_autofree guint8 *first = g_malloc (H2K_VHDX_TABLE_BYTES);
  g_autofree guint8 *second = g_malloc (H2K_VHDX_TABLE_BYTES);
  gboolean intact, copy_intact;

  if (!h2k_file_pread (file, 3 * H2K_VHDX_TABLE_BYTES, H2K_VHDX_TABLE_BYTES, first, error)
      || !h2k_file_pread (file, 4 * H2K_VHDX_TABLE_BYTES, H2K_VHDX_TABLE_BYTES, second, error))
    return FALSE;
  intact = h2k_vhdx_is_intact (first, H2K_VHDX_TABLE_BYTES, "regi");
  copy_intact = h2k_vhdx_is_intact (second, H2K_VHDX_TABLE_BYTES, "regi");
  if (intact != copy_intact)
    h2k_check_corrupt (check, "the %s is damaged", intact ? "region table's copy" : "region table");
  else if (intact && memcmp (first, second, H2K_VHDX_TABLE_BYTES) != 0)
    h2k_check_corrupt (check, "the region table and its copy differ");

  if (!h2k_file_pread (file, H2K_VHDX_TABLE_BYTES, HEADER_BYTES, first, error)
      || !h2k_file_pread (file, 2 * H2K_VHDX_TABLE_BYTES, HEADER_BYTES, second, error))
    return FALSE;
  /* A header that was being written when the host crashed is no loss: that is what two are for. */
  if (h2k_vhdx_is_intact (first, HEADER_BYTES, "head")
      != h2k_vhdx_is_intact (second, HEADER_BYTES, "head"))
    h2k_check_note (check, "one of the two headers is damaged; the other one counts");
  return TRUE;
}

/* The block of LENGTH bytes at HOST is in the file, and nothing else is there. */
static void
check_block (const H2kVhdx *v, guint64 host, guint64 length, const char *what, guint64 number,
             H2kClaims *claims, H2kCheck *check)
{
  const gboolean first = h2k_claims_first (claims);

  if (host > v->file->size || length > v->file->size - host)
    {
      if (first)
        h2k_check_corrupt (check,
                           "the %s %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                           " does not lie within the file, which ends at %" G_GUINT64_FORMAT,
                           what, number, host, v->file->size);
      return;
    }
  if (first)
    check->image_end = MAX (check->image_end, host + length);
  if (!h2k_claims_take (claims, host / H2K_VHDX_MIB, length / H2K_VHDX_MIB))
    h2k_check_corrupt (check,
                       "the %s %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                       " overlaps another block, the headers, the log or a region",
                       what, number, host);
}

/* Entry INDEX: after each group of payload blocks comes a sector bitmap block. */
static void
check_entry (const H2kVhdx *v, guint64 index, guint64 entry, H2kClaims *claims, H2kCheck *check)
{
  guint64 ratio = (guint64)1 << v->ratio_bits, chunk = index / (ratio + 1);
  gboolean bitmap = index % (ratio + 1) == ratio;
  guint64 number = bitmap ? chunk : index - chunk, host = h2k_vhdx_entry_host (entry);
  guint state = entry & 7;

  if (bitmap
          ? (state != H2K_VHDX_NOT_PRESENT && state != H2K_VHDX_FULLY_PRESENT)
          : (state == 4 || state == 5 || (state == H2K_VHDX_PARTIALLY_PRESENT && !v->has_parent)))
    {
      if (h2k_claims_first (claims))
        h2k_check_corrupt (check,
                           "the entry of %s block %" G_GUINT64_FORMAT
                           " has the impossible state %u",
                           bitmap ? "sector bitmap" : "payload", number, state);
      return;
    }
  if (state != H2K_VHDX_FULLY_PRESENT && state != H2K_VHDX_PARTIALLY_PRESENT)
    return;
  if (!bitmap && h2k_claims_first (claims))
    check->allocated++;
  check_block (v, host, bitmap ? H2K_VHDX_MIB : v->block_size,
               bitmap ? "sector bitmap block" : "block", number, claims, check);
}

static gboolean
check_bat (const H2kVhdx *v, H2kClaims *claims, H2kCheck *check, GError **error)
{
  guint64 last = (v->disk.size - 1) / v->block_size;
  guint64 entries = MIN (last + (last >> v->ratio_bits) + 1 + v->has_parent, v->bat.length / 8);
  g_autofree guint8 *piece = g_malloc (PIECE);

  for (guint64 done = 0; done < entries; done += PIECE / 8)
    {
      guint64 n = MIN (entries - done, PIECE / 8);

      if (!h2k_file_pread (v->file, v->bat.offset + done * 8, n * 8, piece, error))
        return FALSE;
      for (guint64 i = 0; i < n; i++)
        check_entry (v, done + i, h2k_le64 (piece + i * 8), claims, check);
    }
  return TRUE;
}

static gboolean
check_disk (const H2kVhdx *v, H2kCheck *check, GError **error)
{
  g_autoptr (H2kClaims) claims = h2k_claims_new (v->file->size / H2K_VHDX_MIB + 1);
  const H2kVhdxRange *const fixed[] = {&v->log, &v->bat, &v->metadata};

  check->units = (v->disk.size - 1) / v->block_size + 1;
  do
    {
      h2k_claims_take (claims, 0, 1);
      for (gsize i = 0; i < G_N_ELEMENTS (fixed);
           i++) /* they do not overlap, or it was not opened */
        {
          h2k_claims_take (claims, fixed[i]->offset / H2K_VHDX_MIB,
                           fixed[i]->length / H2K_VHDX_MIB);
          check->image_end = MAX (check->image_end, fixed[i]->offset + fixed[i]->length);
        }
      if (!check_bat (v, claims, check, error))
        return FALSE;
    }
  while (h2k_claims_next (claims));
  return TRUE;
}

gboolean
h2k_vhdx_check (H2kFile *file, H2kCheck *check, GError **error)
{
  H2kVhdxRange locator;
  g_autoptr (H2kDisk) disk = h2k_vhdx_open_alone (file, &locator, error);
  H2kVhdx *v = (H2kVhdx *)disk;

  if (!disk)
    return FALSE;
  if (v->file != file)
    h2k_check_note (check, "the log holds changes that were not played into the file yet");
  return check_copies (file, check, error) && check_disk (v, check, error);
}
