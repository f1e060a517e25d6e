/* ntfs-check-record.c - looks at one file record of a volume that is checked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/bits.h"
#include "fs/ntfs-check.h"
#include "fs/ntfs-node.h"

#include <xxhash.h>

#define IS_DIRECTORY 2u   /* of a record's flags */
#define HAS_VIEW_INDEX 8u /* it has indexes that are not of names */
#define MAX_NAME 8u       /* units of an index's name that are looked for */

typedef struct
{
  NtfsCheck *c;
  guint64 number, ref; /* of the record */
  guint64 owner;       /* reference of the file that it belongs to */
  NtfsCheckFile *file; /* that one */
  const guint8 *record;
  gboolean listed; /* the file has an attribute list, or should */
} Record;

/* --- the attribute list ----------------------------------------------------------------------- */

/* What the sum of a file's parts counts: that an attribute is where the list says, or (INSTANCE
 * CHAIN) that a piece of one begins where another ends. */
typedef struct
{
  guint64 ref, vcn;
  guint32 type, instance;
} Part;

#define CHAIN 0x10000u

static guint32
part_sum (const Part *part, const guint8 *name, guint n)
{
  return (guint32)XXH3_64bits_withSeed (name, n * 2, XXH3_64bits (part, sizeof *part));
}

static gboolean
check_list (const Record *r, const guint8 *attr, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (NtfsStream) list = h2k_ntfs_read_list (&r->c->volume, attr, &local);

  if (!list)
    return h2k_ntfs_check_failure (r->c, r->number, "its attribute list cannot be read",
                                   g_steal_pointer (&local), error);
  for (gsize at = 0, next; at < list->size; at = next)
    {
      const guint8 *entry = list->value + at;
      Part part = {0};

      next = h2k_ntfs_list_end (list, at);
      if (!next)
        {
          h2k_ntfs_check_say (r->c, r->number, "its attribute list is damaged");
          return TRUE;
        }
      part = (Part){h2k_le64 (entry + 16), h2k_le64 (entry + 8), h2k_le32 (entry),
                    h2k_le16 (entry + 24)};
      r->file->parts -= part_sum (&part, entry + entry[7], entry[6]);
    }
  return TRUE;
}

/* Count ATTR, of a file that has a list. */
static void
count_part (const Record *r, const guint8 *attr)
{
  guint64 first = attr[8] ? h2k_le64 (attr + 16) : 0;
  Part part = {r->ref, first, h2k_le32 (attr), h2k_le16 (attr + 14)};
  const guint8 *name = attr + h2k_le16 (attr + 10);

  if (part.type == NTFS_ATTRIBUTE_LIST)
    return;
  r->file->parts += part_sum (&part, name, attr[9]);
  if (!attr[8])
    return;
  /* The first piece knows where the last one ends. */
  part = (Part){r->owner, first, part.type, CHAIN};
  if (!first)
    part.vcn = h2k_le64 (attr + 40) / r->c->volume.cluster_size;
  r->file->parts += part_sum (&part, name, attr[9]);
  part.vcn = h2k_le64 (attr + 24) + 1;
  r->file->parts -= part_sum (&part, name, attr[9]);
}

/* --- clusters --------------------------------------------------------------------------------- */

/* COUNT clusters from FIRST on belong to the file. FALSE: another one has *TWICE. */
static gboolean
take (NtfsCheck *c, guint64 first, guint64 count, guint64 *twice)
{
  guint64 end = MIN (first + count, c->end);
  gboolean ok = TRUE;

  for (guint64 i = MAX (first, c->first); i < end;)
    {
      guint64 at = i - c->first;
      if (at % 8 == 0 && end - i >= 8 && !c->taken[at / 8])
        {
          c->taken[at / 8] = 0xff;
          i += 8;
          continue;
        }
      if (ok && h2k_bit_get (c->taken, at))
        {
          *twice = i;
          ok = FALSE;
        }
      c->taken[at / 8] |= (guint8)(1 << at % 8);
      i++;
    }
  return ok;
}

static void
check_runs (const Record *r, const guint8 *attr)
{
  NtfsCheck *c = r->c;
  guint64 last = h2k_le64 (attr + 24), twice = 0;
  gboolean shared = FALSE;
  NtfsRuns runs;
  NtfsRun run;

  h2k_ntfs_runs_begin (&runs, attr);
  while (h2k_ntfs_runs_next (&c->volume, &runs, &run))
    if (run.lcn != NTFS_SPARSE && !take (c, run.lcn, run.count, &twice))
      shared = TRUE;
  if (shared)
    h2k_ntfs_check_say (c, NTFS_RECORD_NUMBER (r->owner),
                        "it has cluster %" G_GUINT64_FORMAT ", which belongs to another file or "
                        "stands in it twice",
                        twice);
  if (!c->first_pass)
    return;
  if (runs.damaged || runs.vcn != last + 1)
    h2k_ntfs_check_say (c, NTFS_RECORD_NUMBER (r->owner),
                        "the runs of its attribute of type 0x%x are damaged", h2k_le32 (attr));
}

static void
check_sizes (const Record *r, const guint8 *attr)
{
  guint64 first = h2k_le64 (attr + 16), last = h2k_le64 (attr + 24);
  guint64 allocated = h2k_le64 (attr + 40), size = h2k_le64 (attr + 48);
  guint64 initialized = h2k_le64 (attr + 56), cluster = r->c->volume.cluster_size;

  if (first == 0
      && (size > allocated || initialized > allocated || allocated % cluster
          || (!r->listed && allocated / cluster != last + 1)))
    h2k_ntfs_check_say (r->c, NTFS_RECORD_NUMBER (r->owner),
                        "the sizes of its attribute of type 0x%x do not go together",
                        h2k_le32 (attr));
  if (first != 0 && !r->listed)
    h2k_ntfs_check_say (r->c, NTFS_RECORD_NUMBER (r->owner),
                        "the start of its attribute of type 0x%x is missing", h2k_le32 (attr));
}

/* --- attributes ------------------------------------------------------------------------------- */

static int
compare_ids (gconstpointer a, gconstpointer b)
{
  guint32 x = ((const NtfsCheckSecurity *)a)->id, y = ((const NtfsCheckSecurity *)b)->id;

  return x < y ? -1 : x > y;
}

/* Since version 3 it has a le32 52 of the entry in $Secure. */
static void
check_security (const Record *r, const guint8 *value, guint size)
{
  const GArray *ids = r->c->securities;
  NtfsCheckSecurity key = {.id = size >= 72 ? h2k_le32 (value + 52) : 0};

  if (key.id && ids && !bsearch (&key, ids->data, ids->len, sizeof key, compare_ids))
    h2k_ntfs_check_say (r->c, r->number, "its security descriptor 0x%x is not in $Secure", key.id);
}

static void
check_name (const Record *r, const guint8 *value, guint size)
{
  guint n = size >= H2K_NTFS_NAME ? value[H2K_NTFS_NAME_UNITS] : 0;

  if (!n || size < H2K_NTFS_NAME + n * 2)
    {
      h2k_ntfs_check_say (r->c, r->number, "one of its names is damaged");
      return;
    }
  r->file->n_names++;
  r->file->names += h2k_ntfs_check_name_sum (h2k_le64 (value), r->owner, value + H2K_NTFS_NAME, n);
}

static gboolean
check_attribute (const Record *r, const guint8 *attr, GError **error)
{
  guint32 type = h2k_le32 (attr), size = attr[8] ? 0 : h2k_le32 (attr + 16);
  const guint8 *value = attr + (attr[8] ? 0 : h2k_le16 (attr + 20));

  if (attr[8])
    check_runs (r, attr);
  if (!r->c->first_pass)
    return TRUE;
  if (attr[8])
    check_sizes (r, attr);
  if (r->listed)
    count_part (r, attr);
  if (type == NTFS_STANDARD_INFORMATION && !attr[8])
    check_security (r, value, size);
  else if (type == NTFS_FILE_NAME)
    check_name (r, value, size);
  else if (type == NTFS_ATTRIBUTE_LIST)
    return check_list (r, attr, error);
  return TRUE;
}

/* Whether the attribute NEXT may follow ATTR. */
static gboolean
is_sorted (const Record *r, const guint8 *attr, const guint8 *next)
{
  guint32 a = h2k_le32 (attr), b = h2k_le32 (next);
  int order;

  if (a != b)
    return a < b;
  order = h2k_ntfs_check_collate (r->c, attr + h2k_le16 (attr + 10), attr[9],
                                  next + h2k_le16 (next + 10), next[9]);
  if (order != 0)
    return order < 0;
  if (a == NTFS_FILE_NAME)
    return TRUE;
  return attr[8] && next[8] && h2k_le64 (attr + 16) < h2k_le64 (next + 16);
}

static gboolean
check_attributes (const Record *r, GError **error)
{
  const guint8 *attr = r->record + h2k_le16 (r->record + 20), *before = NULL;
  gboolean sorted = TRUE;

  for (; h2k_le32 (attr) != NTFS_END; attr += h2k_le32 (attr + 4))
    {
      if (before && sorted && !is_sorted (r, before, attr))
        sorted = FALSE;
      if (!check_attribute (r, attr, error))
        return FALSE;
      before = attr;
    }
  if (!sorted && r->c->first_pass)
    h2k_ntfs_check_say (r->c, r->number,
                        "its attributes are not sorted, or there are two of a kind");
  return TRUE;
}

/* --- indexes ---------------------------------------------------------------------------------- */

/* Those that are not of names: their names are ASCII. */
static gboolean
check_view (const Record *r, const guint8 *attr, GError **error)
{
  char name[MAX_NAME + 1] = {0};
  guint n = attr[9];

  for (guint i = 0; i < n && i < MAX_NAME; i++)
    name[i] = (char)attr[h2k_le16 (attr + 10) + i * 2];
  if (!n || n > MAX_NAME || r->number == NTFS_FILE_SECURE || g_str_equal (name, "$I30"))
    return TRUE;
  return h2k_ntfs_check_index (r->c, r->ref, r->record, name, NTFS_CHECK_OTHER, NULL, error);
}

static gboolean
check_indexes (const Record *r, GError **error)
{
  guint flags = h2k_le16 (r->record + 22);
  const guint8 *attr = r->record + h2k_le16 (r->record + 20);

  if (flags & IS_DIRECTORY
      && !h2k_ntfs_check_index (r->c, r->ref, r->record, "$I30", NTFS_CHECK_NAMES, NULL, error))
    return FALSE;
  if (!(flags & HAS_VIEW_INDEX))
    return TRUE;
  for (; h2k_le32 (attr) != NTFS_END; attr += h2k_le32 (attr + 4))
    if (h2k_le32 (attr) == NTFS_INDEX_ROOT && !check_view (r, attr, error))
      return FALSE;
  return TRUE;
}

/* --- the record ------------------------------------------------------------------------------- */

static gboolean
has_list (const guint8 *record)
{
  const guint8 *attr = record + h2k_le16 (record + 20);

  while (h2k_le32 (attr) < NTFS_ATTRIBUTE_LIST)
    attr += h2k_le32 (attr + 4);
  return h2k_le32 (attr) == NTFS_ATTRIBUTE_LIST;
}

gboolean
h2k_ntfs_check_file (NtfsCheck *c, guint64 number, const guint8 *record, GError **error)
{
  guint64 base = h2k_le64 (record + 32);
  Record r = {.c = c, .number = number, .record = record};

  r.ref = number | (guint64)h2k_le16 (record + 16) << 48;
  r.owner = base ? base : r.ref;
  r.listed = base || has_list (record);
  if (NTFS_RECORD_NUMBER (r.owner) >= c->n_records)
    {
      c->files[number].flags |= NTFS_CHECK_IN_USE | NTFS_CHECK_PART;
      if (c->first_pass)
        h2k_ntfs_check_say (c, number, "it says that it is a part of a file that is not there");
      return TRUE;
    }
  r.file = &c->files[NTFS_RECORD_NUMBER (r.owner)];
  if (c->first_pass)
    {
      c->files[number].flags |= (guint8)(NTFS_CHECK_IN_USE | (base ? NTFS_CHECK_PART : 0));
      c->files[number].links = base ? 0 : h2k_le16 (record + 18);
    }
  return check_attributes (&r, error) && (base || !c->first_pass || check_indexes (&r, error));
}
