/* lvm-usage.c - which blocks of an LVM2 physical volume are in use.
 *
 * Extents that no logical volume of any kind claims are not. What plain logical volumes hold is
 * looked into, since their filesystems tell more: those whose extents all lie on this physical
 * volume, and others where the caller has them as disks. Whatever else there is (the label, the
 * metadata areas, the rest behind the last extent, and volumes that are striped, mirrored, thin,
 * snapshots, encrypted...) is in use, and where the metadata may not be the group's present state,
 * everything is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/usage.h"
#include "volume/lvm.h"
#include "volume/volume.h"

/* How many filesystems are kept open; each holds a few MiB at most. */
#define MAX_OPEN 8u

/* Extents that a logical volume has. */
typedef struct
{
  guint64 start, count; /* physical extents */
  guint lv;
  guint64 lv_start; /* extents of the logical volume; of a plain one only */
} Claim;

typedef struct
{
  gboolean refused; /* all of it is in use */
  H2kUsage *usage;  /* NULL: not open */
  guint64 last_used;
} Lv;

typedef struct
{
  H2kUsage base;
  H2kLvmMember *member;
  guint64 extent_size, start, end; /* bytes: where the extents lie */
  gboolean drop_swap;
  GHashTable *known; /* may be NULL: usage.h */
  GArray *claims;    /* Claim, by start, apart from each other */
  Lv *lvs;           /* one for each of the group's */
  guint n_open;
  guint64 clock;
} LvmUsage;

static gboolean
fail (H2kDisk *volume, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: the LVM physical volume: %s",
               volume->name, why);
  return FALSE;
}

/* --- what the metadata says ---------------------------------------------------------------------
 */

static gboolean
overlaps (guint64 a, guint64 a_end, guint64 b, guint64 b_end)
{
  return a < b_end && b < a_end;
}

/* Whether the metadata can be trusted, and lies apart from the extents. */
static gboolean
check_member (const LvmUsage *lvm, H2kDisk *volume, GError **error)
{
  const H2kLvmMember *member = lvm->member;
  const H2kLvmPv *pv = member->group->pvs->pdata[member->pv];

  if (member->doubt)
    return fail (volume, error, member->doubt);
  if (member->group->is_exported)
    return fail (volume, error, "its volume group is exported");
  if (member->group->is_partial)
    return fail (volume, error, "its volume group misses a volume");
  if (pv->pe_start != member->data_offset || pv->pe_start < 2048 || lvm->end < lvm->start
      || lvm->end > volume->size)
    return fail (volume, error, "its extents are not where they should be");
  for (guint i = 0; i < member->areas->len; i++)
    {
      const H2kLvmRange *area = &g_array_index (member->areas, H2kLvmRange, i);
      if (overlaps (area->offset, area->offset + area->length, lvm->start, lvm->end))
        return fail (volume, error, "a metadata area lies among its extents");
    }
  return TRUE;
}

static int
compare_claims (gconstpointer a, gconstpointer b)
{
  const Claim *p = a, *q = b;

  return p->start < q->start ? -1 : p->start > q->start;
}

static void
add_claims (LvmUsage *lvm, guint number)
{
  const H2kLvmLv *lv = lvm->member->group->lvs->pdata[number];

  for (guint i = 0; i < lv->segments->len; i++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[i];
      for (guint a = 0; a < segment->areas->len; a++)
        {
          const H2kLvmArea *area = &g_array_index (segment->areas, H2kLvmArea, a);
          Claim claim = {area->start, area->count, number, segment->start};
          if (area->pv == lvm->member->pv)
            g_array_append_val (lvm->claims, claim);
        }
    }
}

/* Collect who has which extents; nobody may have the same ones. */
static gboolean
collect_claims (LvmUsage *lvm, H2kDisk *volume, GError **error)
{
  const H2kLvmGroup *group = lvm->member->group;
  const H2kLvmPv *pv = group->pvs->pdata[lvm->member->pv];
  guint64 end = 0;

  for (guint i = 0; i < group->lvs->len; i++)
    add_claims (lvm, i);
  g_array_sort (lvm->claims, compare_claims);
  for (guint i = 0; i < lvm->claims->len; i++)
    {
      const Claim *claim = &g_array_index (lvm->claims, Claim, i);
      if (claim->start < end)
        return fail (volume, error, "two logical volumes have the same extents");
      end = claim->start + claim->count;
      if (end > pv->pe_count)
        return fail (volume, error, "a logical volume has extents that are not there");
    }
  return TRUE;
}

/* --- what the logical volumes hold --------------------------------------------------------------
 */

/* The disk of LV, which lies on several physical volumes, if somebody put it together as this one
 * describes it. */
static H2kDisk *
find_known (const LvmUsage *lvm, const H2kLvmLv *lv)
{
  g_autofree char *identity = h2k_lvm_lv_identity (lvm->member->group, lv);
  H2kDisk *disk = lvm->known && lv->is_plain ? g_hash_table_lookup (lvm->known, identity) : NULL;

  return disk && disk->size == lv->extents * lvm->extent_size ? h2k_disk_ref (disk) : NULL;
}

/* The disk of the logical volume LV if it can be looked into; NULL and no error if not: partitions
 * (a virtual machine's disk), or a group within the group. */
static H2kDisk *
open_disk (LvmUsage *lvm, const H2kLvmLv *lv, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kDisk) disk = h2k_lvm_lv_disk (lvm->base.volume, lvm->member, lv, &local);
  g_autoptr (H2kTable) table = NULL;
  H2kFsId id;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return NULL;
    }
  if (!disk)
    disk = find_known (lvm, lv);
  table = disk ? h2k_table_read (disk, error) : NULL;
  if (!table || table->type != H2K_TABLE_NONE || !h2k_fs_identify (disk, &id, error)
      || g_str_equal (id.type, "LVM2_member"))
    return NULL;
  return g_steal_pointer (&disk);
}

static void
close_oldest (LvmUsage *lvm)
{
  Lv *oldest = NULL;

  for (guint i = 0; i < lvm->member->group->lvs->len; i++)
    if (lvm->lvs[i].usage && (!oldest || lvm->lvs[i].last_used < oldest->last_used))
      oldest = &lvm->lvs[i];
  h2k_usage_free (g_steal_pointer (&oldest->usage));
  lvm->n_open--;
}

/* Whether an error means that the volume is not to be looked into, and not that the disk failed. */
static gboolean
is_refusal (const GError *error)
{
  return g_error_matches (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
         || g_error_matches (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
}

/* Open what the logical volume NUMBER holds, if that is not known yet. */
static gboolean
open_lv (LvmUsage *lvm, guint number, GError **error)
{
  const H2kLvmLv *lv = lvm->member->group->lvs->pdata[number];
  Lv *state = &lvm->lvs[number];
  g_autoptr (H2kDisk) disk = NULL;
  GError *reason = NULL;

  state->last_used = ++lvm->clock;
  if (state->usage || state->refused)
    return TRUE;
  disk = open_disk (lvm, lv, &reason);
  if (disk)
    state->usage = h2k_usage_open_known (disk, lvm->known, lvm->drop_swap, &reason);
  if (state->usage)
    {
      if (++lvm->n_open > MAX_OPEN)
        close_oldest (lvm);
      return TRUE;
    }
  if (reason && !is_refusal (reason))
    {
      g_propagate_error (error, reason);
      return FALSE;
    }
  state->refused = TRUE;
  if (reason)
    g_message ("all of it is copied: %s", reason->message);
  g_clear_error (&reason);
  return TRUE;
}

/* --- the driver ---------------------------------------------------------------------------------
 */

/* The first claim that ends behind the extent NUMBER, or NULL. */
static const Claim *
find_claim (const LvmUsage *lvm, guint64 number)
{
  guint low = 0, high = lvm->claims->len;

  while (low < high)
    {
      guint middle = (low + high) / 2;
      const Claim *claim = &g_array_index (lvm->claims, Claim, middle);
      if (claim->start + claim->count <= number)
        low = middle + 1;
      else
        high = middle;
    }
  return low < lvm->claims->len ? &g_array_index (lvm->claims, Claim, low) : NULL;
}

/* The extent at OFFSET, which CLAIM holds. */
static gboolean
used_by_claim (LvmUsage *lvm, const Claim *claim, guint64 offset, H2kExtent *extent, GError **error)
{
  guint64 start = lvm->start + claim->start * lvm->extent_size;
  guint64 end = start + claim->count * lvm->extent_size;
  H2kExtent inner;

  *extent = (H2kExtent){offset, end - offset, H2K_EXTENT_DATA};
  if (!open_lv (lvm, claim->lv, error))
    return FALSE;
  if (lvm->lvs[claim->lv].refused)
    return TRUE;
  if (!lvm->lvs[claim->lv].usage->ops->used (lvm->lvs[claim->lv].usage,
                                             claim->lv_start * lvm->extent_size + offset - start,
                                             &inner, error))
    return FALSE;
  extent->kind = inner.kind;
  extent->length = MIN (inner.length, end - offset);
  return TRUE;
}

static gboolean
lvm_used (H2kUsage *base, guint64 offset, H2kExtent *extent, GError **error)
{
  LvmUsage *lvm = (LvmUsage *)base;
  const Claim *claim;
  guint64 end;

  if (offset < lvm->start || offset >= lvm->end)
    {
      end = offset < lvm->start ? lvm->start : base->volume->size;
      *extent = (H2kExtent){offset, end - offset, H2K_EXTENT_DATA};
      return TRUE;
    }
  claim = find_claim (lvm, (offset - lvm->start) / lvm->extent_size);
  end = claim ? lvm->start + claim->start * lvm->extent_size : lvm->end;
  if (claim && offset >= end)
    return used_by_claim (lvm, claim, offset, extent, error);
  *extent = (H2kExtent){offset, end - offset, H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
lvm_takes (const H2kFsId *id)
{
  return g_str_equal (id->type, "LVM2_member");
}

static void
free_state (LvmUsage *lvm)
{
  const H2kLvmGroup *group = lvm->member ? lvm->member->group : NULL;

  for (guint i = 0; lvm->lvs && i < group->lvs->len; i++)
    h2k_usage_free (lvm->lvs[i].usage);
  g_free (lvm->lvs);
  g_clear_pointer (&lvm->claims, g_array_unref);
  g_clear_pointer (&lvm->known, g_hash_table_unref);
  h2k_lvm_member_free (lvm->member);
  g_free (lvm);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LvmUsage, free_state)

static void
lvm_close (H2kUsage *base)
{
  free_state ((LvmUsage *)base);
}

H2kUsage *
h2k_lvm_usage_new (H2kDisk *volume, GHashTable *known, gboolean drop_swap, GError **error)
{
  g_autoptr (LvmUsage) lvm = g_new0 (LvmUsage, 1);
  const H2kLvmGroup *group;
  const H2kLvmPv *pv;

  lvm->member = h2k_lvm_member_read (volume, error);
  if (!lvm->member)
    return NULL;
  group = lvm->member->group;
  if (!group)
    {
      fail (volume, error, "it has no metadata of a volume group");
      return NULL;
    }
  pv = group->pvs->pdata[lvm->member->pv];
  lvm->drop_swap = drop_swap;
  lvm->known = known ? g_hash_table_ref (known) : NULL;
  lvm->extent_size = group->extent_size;
  lvm->start = pv->pe_start;
  lvm->end = pv->pe_start + pv->pe_count * group->extent_size;
  lvm->claims = g_array_new (FALSE, FALSE, sizeof (Claim));
  if (!check_member (lvm, volume, error) || !collect_claims (lvm, volume, error))
    return NULL;
  lvm->lvs = g_new0 (Lv, group->lvs->len + 1);
  h2k_usage_init (&lvm->base, &h2k_lvm_usage_ops, volume);
  return &((LvmUsage *)g_steal_pointer (&lvm))->base;
}

static H2kUsage *
lvm_open (H2kDisk *volume, const H2kFsId *id, gboolean drop_swap, GError **error)
{
  (void)id;
  return h2k_lvm_usage_new (volume, NULL, drop_swap, error);
}

const H2kUsageOps h2k_lvm_usage_ops = {
    .name = "lvm",
    .takes = lvm_takes,
    .open = lvm_open,
    .used = lvm_used,
    .close = lvm_close,
};
