/* md-array.c - an array of Linux software RAID as a disk.
 *
 * Which members count follows drivers/md/md.c of Linux, where blocks lie raid0.c, raid5.c, raid10.c
 * and md(4).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md.h"

#include "volume/md-parity.h"

typedef struct
{
  const H2kMdMember *super; /* the newest member's */
  GArray *slots;            /* H2kMdDisk of each; disk NULL: it is missing */
  GPtrArray *notes;
  gboolean writable; /* as far as the array itself is concerned */
  gboolean alone;    /* what is missing never comes back */
  GError **error;
} Array;

static H2kDisk *refuse (Array *array, H2kError code, const char *format, ...) G_GNUC_PRINTF (3, 4);

static H2kDisk *
refuse (Array *array, H2kError code, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (array->error, H2K_ERROR, code, "the RAID array %s: %s", array->super->uuid, text);
  return NULL;
}

static void
note (Array *array, const char *text)
{
  if (!g_ptr_array_find_with_equal_func (array->notes, text, g_str_equal, NULL))
    g_ptr_array_add (array->notes, g_strdup (text));
}

/* --- which members count -----------------------------------------------------------------------
 */

/* Whether the superblocks describe one array. */
static gboolean
agree (const H2kMdMember *a, const H2kMdMember *b)
{
  return a->level == b->level && a->layout == b->layout && a->chunk == b->chunk
         && a->raid_disks == b->raid_disks && a->size == b->size;
}

static H2kMdDisk *
slot_of (const Array *array, guint slot)
{
  return &g_array_index (array->slots, H2kMdDisk, slot);
}

/* Whether MEMBER has a member in SLOT, as far as it says. */
static gboolean
has_in_slot (const H2kMdMember *member, guint slot)
{
  gboolean found = !member->roles;

  for (guint i = 0; i < member->n_roles && !found; i++)
    found = member->roles[i] == slot;
  return found;
}

/* Whether MEMBER knows what became of it. With the newest event but one it may have failed in the
 * last one, which only the others have noted then. And it may have gone on without the newest one,
 * when each was used without the other. */
static gboolean
is_up_to_date (const Array *array, const H2kMdMember *member)
{
  const H2kMdMember *newest = array->super;

  if (!has_in_slot (member, newest->slot))
    return FALSE;
  if (member->events >= newest->events)
    return TRUE;
  return member->events + 1 == newest->events
         && (!newest->roles || h2k_md_slot_by (newest, member->number) == member->slot);
}

/* Put each member that is up to date into its slot. FALSE: two claim the same one. */
static gboolean
fill_slots (Array *array, const H2kMdDisk *members, guint n)
{
  for (guint i = 0; i < n; i++)
    {
      const H2kMdMember *member = members[i].member;
      H2kMdDisk *slot;

      if (member->is_replacement)
        {
          array->writable = FALSE;
          note (array, "a member is being replaced: the array is not written");
          continue;
        }
      if (member->slot == H2K_MD_NO_SLOT || member->slot >= array->slots->len)
        continue;
      if (!is_up_to_date (array, member))
        {
          g_autofree char *text
              = g_strdup_printf ("%s is out of date and was left out", members[i].disk->name);
          note (array, text);
          if (member->events >= array->super->events)
            {
              array->writable = FALSE;
              note (array, "members were used without each other, and which of them the guest goes "
                           "on with is not known: the array is not written");
            }
          continue;
        }
      slot = slot_of (array, member->slot);
      if (!agree (member, array->super))
        {
          refuse (array, H2K_ERROR_FILESYSTEM, "%s and another member contradict each other",
                  members[i].disk->name);
          return FALSE;
        }
      if (slot->disk)
        {
          refuse (array, H2K_ERROR_SOURCE,
                  "its member in the slot %u of %u is there more than once, on %s and on %s (is a "
                  "copy of a disk given, too?)",
                  member->slot, array->slots->len, slot->disk->name, members[i].disk->name);
          return FALSE;
        }
      *slot = members[i];
    }
  return TRUE;
}

static void
judge_slots (Array *array)
{
  for (guint i = 0; i < array->slots->len; i++)
    {
      const H2kMdDisk *slot = slot_of (array, i);
      if (slot->disk && slot->member->has_bad_blocks)
        {
          array->writable = FALSE;
          note (array, "bad blocks are noted on a member, which is not read: the array is not "
                       "written");
        }
      if (slot->disk && slot->member->is_recovering)
        note (array, "a member is being rebuilt: it is written, but not read");
      if (slot->disk && slot->member->is_dirty)
        note (array, array->super->level == 4 || array->super->level == 5
                         ? "the array was not shut down cleanly: the guest makes its parity anew"
                         : "the array was not shut down cleanly: its first members are believed");
    }
}

/* Add SLOT to LIST, "0, 2". */
static void
list_slot (GString *list, guint slot)
{
  g_string_append_printf (list, "%s%u", list->len ? ", " : "", slot);
}

static gboolean
is_given (const H2kMdDisk *members, guint n, guint slot)
{
  for (guint i = 0; i < n; i++)
    if (members[i].member->slot == slot)
      return TRUE;
  return FALSE;
}

/* What is to be said of members that are missing, and whether the array can be written all the
 * same: one that it counts as active comes back as if nothing had happened. The caller's; NULL:
 * nothing. */
static char *
judge_missing (Array *array, const H2kMdDisk *members, guint n)
{
  g_autoptr (GString) lost = g_string_new (NULL), all = g_string_new (NULL);

  for (guint i = 0; i < array->slots->len; i++)
    {
      if (slot_of (array, i)->disk)
        continue;
      list_slot (all, i);
      if (array->super->counted[i] && !is_given (members, n, i))
        list_slot (lost, i);
    }
  if (all->len && array->alone)
    return g_strdup_printf ("the array %s lacks members, those in the slots %s of %u: the VM goes "
                            "on without them, and they must never be given to it",
                            array->super->uuid, all->str, array->slots->len);
  if (lost->len)
    {
      array->writable = FALSE;
      return g_strdup_printf ("the members in the slots %s of %u of the array %s, which it counts "
                              "as active, are not given: what would be written without them would "
                              "contradict what they hold, so that the array is not written: give "
                              "every disk of the VM",
                              lost->str, array->slots->len, array->super->uuid);
    }
  if (all->len && array->super->has_bitmap)
    {
      array->writable = FALSE;
      return g_strdup_printf ("the array %s lacks members, those in the slots %s of %u, and would "
                              "bring them up to date from its bitmap alone when they come back: it "
                              "is not written",
                              array->super->uuid, all->str, array->slots->len);
    }
  return all->len ? g_strdup_printf ("the array %s lacks members, those in the slots %s of %u",
                                     array->super->uuid, all->str, array->slots->len)
                  : NULL;
}

/* --- where the blocks lie ----------------------------------------------------------------------
 */

static H2kMapMember
map_member (const H2kMdDisk *slot)
{
  H2kMapMember member = {NULL};

  if (slot->disk)
    member = (H2kMapMember){
        .disk = slot->disk,
        .offset = slot->member->data_offset,
        .write_only = slot->member->is_recovering || slot->member->has_bad_blocks,
    };
  return member;
}

static GArray *
map_members (const Array *array)
{
  GArray *members = g_array_new (FALSE, TRUE, sizeof (H2kMapMember));

  for (guint i = 0; i < array->slots->len; i++)
    {
      H2kMapMember member = map_member (slot_of (array, i));
      g_array_append_val (members, member);
    }
  return members;
}

/* The numbers of the slots from which nothing is read: "0, 2"; NULL: there are none. */
static char *
list_missing (const Array *array)
{
  g_autoptr (GString) list = g_string_new (NULL);

  for (guint i = 0; i < array->slots->len; i++)
    {
      H2kMapMember member = map_member (slot_of (array, i));
      if (!member.disk || member.write_only)
        list_slot (list, i);
    }
  return list->len ? g_string_free (g_steal_pointer (&list), FALSE) : NULL;
}

/* Say which members are missed, where WHY, which is taken, is that some are. */
static H2kDisk *
explain (Array *array, GError *why)
{
  g_autofree char *list = list_missing (array);

  if (!list || !g_error_matches (why, H2K_ERROR, H2K_ERROR_SOURCE))
    {
      g_propagate_error (array->error, why);
      return NULL;
    }
  g_error_free (why);
  return refuse (array, H2K_ERROR_SOURCE,
                 "of its %u members the ones in the slots %s are missing, out of date or damaged, "
                 "and the others do not have all blocks: give every disk of the VM",
                 array->slots->len, list);
}

static H2kDisk *
finish (Array *array, const H2kMapRun *runs, guint n_runs)
{
  g_autofree char *name = g_strdup_printf ("RAID array %s", array->super->uuid);
  GError *why = NULL;
  H2kDisk *disk = h2k_map_disk_new (runs, n_runs, array->writable, "md", name, &why);

  return disk ? disk : explain (array, why);
}

/* The bytes of a member that hold data, in whole chunks. */
static guint64
whole_chunks (const H2kMdMember *member)
{
  return member->chunk ? member->data_length / member->chunk * member->chunk : member->data_length;
}

static H2kDisk *
missing (Array *array, guint slot)
{
  return refuse (
      array, H2K_ERROR_SOURCE,
      "its member in the slot %u of %u is missing or out of date: give every disk of the "
      "VM",
      slot, array->slots->len);
}

static H2kDisk *
map_linear (Array *array)
{
  g_autofree H2kMapRun *runs = g_new0 (H2kMapRun, array->slots->len);
  g_autoptr (GArray) members = map_members (array);

  for (guint i = 0; i < members->len; i++)
    {
      const H2kMdDisk *slot = slot_of (array, i);
      if (!slot->disk)
        return missing (array, i);
      runs[i] = (H2kMapRun){.length = whole_chunks (slot->member),
                            .layout = {.near = 1, .far = 1},
                            .n_members = 1,
                            .members = &g_array_index (members, H2kMapMember, i)};
    }
  return finish (array, runs, members->len);
}

/* The smallest of the members' lengths above START; 0: none. */
static guint64
next_length (const Array *array, guint64 start)
{
  guint64 length = 0;

  for (guint i = 0; i < array->slots->len; i++)
    {
      guint64 own = whole_chunks (slot_of (array, i)->member);
      if (own > start && (length == 0 || own < length))
        length = own;
    }
  return length;
}

enum
{
  RAID0_NOT_SAID = 0,
  RAID0_ORIGINAL = 1, /* chunks are counted from the array's start: a zone begins on any member */
  RAID0_ALTERNATE = 2,
};

/* The members that reach further down than START, as a zone begins on them. */
static GArray *
zone_members (const Array *array, guint64 start, guint64 chunks_before)
{
  g_autoptr (GArray) all = g_array_new (FALSE, TRUE, sizeof (H2kMapMember));
  GArray *turned = g_array_new (FALSE, TRUE, sizeof (H2kMapMember));

  for (guint i = 0; i < array->slots->len; i++)
    if (whole_chunks (slot_of (array, i)->member) > start)
      {
        H2kMapMember member = map_member (slot_of (array, i));
        member.offset += start;
        g_array_append_val (all, member);
      }
  for (guint i = 0; i < all->len; i++)
    {
      guint from
          = (guint)((i + (array->super->layout == RAID0_ORIGINAL ? chunks_before % all->len : 0))
                    % all->len);
      g_array_append_val (turned, g_array_index (all, H2kMapMember, from));
    }
  return turned;
}

static void
members_free (gpointer data)
{
  g_array_unref (data);
}

/* Zones: as far as the smallest member goes all take part, then those that are left, and so on. */
static H2kDisk *
map_raid0 (Array *array)
{
  g_autoptr (GPtrArray) lists = g_ptr_array_new_with_free_func (members_free);
  g_autoptr (GArray) runs = g_array_new (FALSE, TRUE, sizeof (H2kMapRun));
  guint64 start = 0, total = 0, end;

  for (guint i = 0; i < array->slots->len; i++)
    if (!slot_of (array, i)->disk)
      return missing (array, i);
  if (array->super->chunk == 0)
    return refuse (array, H2K_ERROR_FILESYSTEM, "it has no chunk size");
  for (; (end = next_length (array, start)) > 0; start = end)
    {
      GArray *members = zone_members (array, start, total / array->super->chunk);
      H2kMapRun run = {.layout = {.chunk = array->super->chunk, .near = 1, .far = 1},
                       .n_members = members->len,
                       .members = (const H2kMapMember *)members->data};

      g_ptr_array_add (lists, members);
      if (end - start > (G_MAXINT64 - total) / members->len)
        return refuse (array, H2K_ERROR_FILESYSTEM, "it is too large");
      run.length = (end - start) * members->len;
      total += run.length;
      g_array_append_val (runs, run);
    }
  if (runs->len > 1 && array->super->layout != RAID0_ORIGINAL
      && array->super->layout != RAID0_ALTERNATE)
    return refuse (array, H2K_ERROR_UNSUPPORTED,
                   "its members differ in size, and nothing says in which of two ways it was laid "
                   "out: set it in the guest with mdadm --assemble --update=layout-original or "
                   "=layout-alternate");
  return finish (array, (const H2kMapRun *)runs->data, runs->len);
}

static H2kDisk *
map_raid1 (Array *array)
{
  g_autoptr (GArray) members = map_members (array);
  H2kMapRun run = {.length = array->super->size,
                   .layout = {.near = members->len, .far = 1},
                   .n_members = members->len,
                   .members = (const H2kMapMember *)members->data};

  return finish (array, &run, 1);
}

/* The layout's bits: near copies, far copies, whether those are in the next row, and how members
 * are divided into sets for them. */
static H2kDisk *
map_raid10 (Array *array)
{
  const H2kMdMember *super = array->super;
  g_autoptr (GArray) members = map_members (array);
  guint near = super->layout & 0xff, far = super->layout >> 8 & 0xff, sets = super->layout >> 17;
  guint n = members->len;
  guint64 chunks, rows;
  H2kMapRun run = {.n_members = n, .members = (const H2kMapMember *)members->data};

  if (near == 0 || far == 0 || near * far > n || super->chunk == 0 || sets > 2)
    return refuse (array, H2K_ERROR_FILESYSTEM, "its layout 0x%x is none", super->layout);
  /* All the chunks of all members, by the number of copies. */
  chunks = super->size / super->chunk / far * n / near;
  rows = (chunks * near * far + n - 1) / n;
  run.length = chunks * super->chunk;
  run.layout = (H2kMapLayout){
      .chunk = super->chunk,
      .near = near,
      .far = far,
      .far_offset = (super->layout & 1 << 16) != 0,
      .far_set = sets == 0   ? n
                 : sets == 1 ? n / far
                             : near * far,
      .stride = rows / far * super->chunk,
  };
  return finish (array, &run, 1);
}

/* Whether the parity may not be that of the data: the last writes were cut off. */
static gboolean
is_dirty (const Array *array)
{
  for (guint i = 0; i < array->slots->len; i++)
    {
      const H2kMdDisk *slot = slot_of (array, i);
      if (slot->disk && slot->member->is_dirty)
        return TRUE;
    }
  return FALSE;
}

/* What a dirty array lacks cannot be made up: Linux refuses to start it, too. */
static H2kDisk *
map_parity (Array *array)
{
  const H2kMdMember *super = array->super;
  g_autoptr (GArray) members = map_members (array);
  g_autofree char *name = g_strdup_printf ("RAID array %s", super->uuid);
  g_autofree char *list = list_missing (array);
  gboolean dirty = is_dirty (array);
  GError *why = NULL;
  H2kDisk *disk;

  if (super->has_journal)
    return refuse (array, H2K_ERROR_UNSUPPORTED,
                   "it has a write journal, which may hold what its members do not: remove that in "
                   "the guest with mdadm --fail and --remove");
  if (super->level == 5 && super->layout > H2K_PARITY_LAST)
    return refuse (array, H2K_ERROR_FILESYSTEM, "its layout 0x%x is none", super->layout);
  if (list && dirty)
    return refuse (array, H2K_ERROR_SOURCE,
                   "its members %s of %u are missing or out of date, and as it was not shut down "
                   "cleanly either, nothing can make up for them: give every disk of the VM, or "
                   "start it in the guest once more and shut that down",
                   list, array->slots->len);
  if (dirty && super->has_ppl)
    {
      array->writable = FALSE;
      note (array, "the array was not shut down cleanly, and its partial parity log counts on what "
                   "the members hold: it is not written");
    }
  if (list)
    array->writable = FALSE;
  disk = h2k_md_parity_disk ((const H2kMapMember *)members->data, members->len,
                             super->level == 4 ? H2K_PARITY_LAST : super->layout, super->chunk,
                             super->size, array->writable, name, &why);
  if (disk && list)
    note (array, "a member is made up for from the others: the array is not written");
  return disk ? disk : explain (array, why);
}

static H2kDisk *
map_array (Array *array)
{
  switch (array->super->level)
    {
    case -1:
      return map_linear (array);
    case 0:
      return map_raid0 (array);
    case 1:
      return map_raid1 (array);
    case 4:
    case 5:
      return map_parity (array);
    case 10:
      return map_raid10 (array);
    default:
      return refuse (array, H2K_ERROR_UNSUPPORTED,
                     "arrays of level %d cannot be read: copy it in the guest to one of level 1, 5 "
                     "or 10, or to an ordinary disk",
                     array->super->level);
    }
}

H2kDisk *
h2k_md_array_disk (const H2kMdDisk *members, guint n_members, gboolean alone, GPtrArray *notes,
                   gboolean *frozen, GError **error)
{
  g_autoptr (GArray) slots = g_array_new (FALSE, TRUE, sizeof (H2kMdDisk));
  Array array = {.slots = slots, .notes = notes, .writable = TRUE, .alone = alone, .error = error};
  g_autofree char *missing = NULL;
  H2kDisk *disk;

  *frozen = FALSE;
  g_assert (n_members > 0);
  for (guint i = 0; i < n_members; i++)
    if (!array.super
        || (members[i].member->slot != H2K_MD_NO_SLOT
            && (array.super->slot == H2K_MD_NO_SLOT
                || members[i].member->events > array.super->events)))
      array.super = members[i].member;
  g_array_set_size (slots, array.super->raid_disks);
  for (guint i = 0; i < n_members; i++)
    if (members[i].member->is_reshaping)
      return refuse (&array, H2K_ERROR_UNSUPPORTED,
                     "it is being reshaped: let that finish in the guest");
  if (!fill_slots (&array, members, n_members))
    return NULL;
  judge_slots (&array);
  missing = judge_missing (&array, members, n_members);
  disk = map_array (&array);
  if (disk && missing)
    note (&array, missing);
  *frozen = !array.writable;
  return disk;
}
