/* lvm.c - LVM2 metadata: the label, the metadata areas, and what their text says.
 *
 * After lib/format_text/layout.h and lib/label/label.h of LVM2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm.h"

#include "disk/formats.h"
#include "volume/lvm-text.h"

#define SECTOR 512u
#define LABEL_SECTORS 4u
#define MAX_LOCATIONS 16u
/* A group with thousands of volumes has a few hundred KiB. */
#define MAX_TEXT (4u << 20)
#define MAX_EXTENT_NUMBER G_MAXUINT32

/* struct label_header, at the start of its sector; little-endian */
enum
{
  LABEL_SECTOR = 8,
  LABEL_CRC = 16,
  LABEL_OFFSET = 20, /* of what follows, and what the CRC is taken of */
  LABEL_TYPE = 24,
  LABEL_HEADER_SIZE = 32,
};

/* struct pv_header: the UUID, the device's size, and two lists of {offset, size} that end with
 * zeros: data areas and metadata areas. */
enum
{
  PV_UUID_SIZE = 32,
  PV_LISTS = 40,
  LOCATION_SIZE = 16,
};

/* struct mda_header */
enum
{
  MDA_CRC = 0,
  MDA_MAGIC = 4,
  MDA_VERSION = 20,
  MDA_START = 24,
  MDA_SIZE = 32,
  MDA_COMMITTED = 40,
  MDA_PRECOMMITTED = 64,
};

/* struct raw_locn */
enum
{
  RAW_OFFSET = 0,
  RAW_SIZE = 8,
  RAW_CRC = 16,
  RAW_FLAGS = 20,
  RAW_IGNORED = 1,
};

static const char mda_magic[] = "\x20LVM2\x20x[5A%r0N*>";

static gboolean
fail (const char *name, H2kError code, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, code, "%s: %s", name, why);
  return FALSE;
}

/* LVM's CRC-32 has a start value of its own, and no inversion at the end. */
static guint32
lvm_crc (guint32 crc, const void *data, gsize length)
{
  return ~h2k_crc32 (~crc, data, length);
}

#define CRC_START 0xf597a6cfu

/* --- the description of a group -----------------------------------------------------------------
 */

typedef struct
{
  const char *name; /* for messages */
  LvmText tree;
  H2kLvmGroup *group;
  GHashTable *pvs, *lvs; /* name -> index + 1 */
  GHashTable
      *parts; /* the names that occur in segments: what a volume is made of is no plain one */
  GError **error;
} Reader;

static void
part_clear (gpointer data)
{
  H2kLvmPart *part = data;

  g_free (part->key);
  g_free (part->name);
}

static void
segment_free (gpointer data)
{
  H2kLvmSegment *segment = data;

  g_free (segment->type);
  g_array_unref (segment->areas);
  g_array_unref (segment->parts);
  g_free (segment);
}

static void
lv_free (gpointer data)
{
  H2kLvmLv *lv = data;

  g_free (lv->name);
  g_free (lv->uuid);
  g_strfreev (lv->status);
  g_ptr_array_unref (lv->segments);
  g_free (lv);
}

static void
pv_free (gpointer data)
{
  H2kLvmPv *pv = data;

  g_free (pv->name);
  g_free (pv->uuid);
  g_free (pv->device);
  g_free (pv);
}

void
h2k_lvm_group_free (H2kLvmGroup *group)
{
  if (!group)
    return;
  g_free (group->name);
  g_free (group->uuid);
  g_ptr_array_unref (group->pvs);
  g_ptr_array_unref (group->lvs);
  g_free (group);
}

static gboolean
corrupt (Reader *reader, const char *why)
{
  g_set_error (reader->error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
               "%s: its LVM metadata is damaged: %s", reader->name, why);
  return FALSE;
}

/* The number called KEY in NODE, up to MAX. */
static gboolean
get_number (Reader *reader, const LvmNode *node, const char *key, guint64 max, guint64 *value)
{
  const LvmNode *number = lvm_text_find (&reader->tree, node, key, LVM_NUMBER);

  return (number && lvm_text_number (&reader->tree, number, max, value)) || corrupt (reader, key);
}

static gboolean
get_string (Reader *reader, const LvmNode *node, const char *key, char **value)
{
  const LvmNode *string = lvm_text_find (&reader->tree, node, key, LVM_STRING);

  if (!string)
    return corrupt (reader, key);
  *value = lvm_text_string (&reader->tree, string);
  return TRUE;
}

/* Whether the array called KEY in NODE has TEXT. */
static gboolean
has_flag (const Reader *reader, const LvmNode *node, const char *key, const char *text)
{
  const LvmNode *array = lvm_text_find (&reader->tree, node, key, LVM_ARRAY);
  gsize length = strlen (text);

  for (const LvmNode *n = array ? lvm_text_first (&reader->tree, array) : NULL; n;
       n = lvm_text_next (&reader->tree, n))
    if (n->kind == LVM_STRING && n->value_length == length
        && memcmp (reader->tree.text + n->value, text, length) == 0)
      return TRUE;
  return FALSE;
}

/* Whether the array called KEY in NODE has nothing but what is in ALLOWED. A NULL ends the list. */
static gboolean
has_only (const Reader *reader, const LvmNode *node, const char *key, const char *const *allowed)
{
  const LvmNode *array = lvm_text_find (&reader->tree, node, key, LVM_ARRAY);

  for (const LvmNode *n = array ? lvm_text_first (&reader->tree, array) : NULL; n;
       n = lvm_text_next (&reader->tree, n))
    {
      g_autofree char *text = lvm_text_string (&reader->tree, n);
      if (!g_strv_contains (allowed, text))
        return FALSE;
    }
  return array != NULL;
}

static gboolean
remember (Reader *reader, GHashTable *names, const char *name, guint n)
{
  return g_hash_table_insert (names, g_strdup (name), GUINT_TO_POINTER (n))
         || corrupt (reader, "a name occurs twice");
}

static gboolean
read_pv (Reader *reader, const LvmNode *node)
{
  H2kLvmGroup *group = reader->group;
  H2kLvmPv *pv = g_new0 (H2kLvmPv, 1);
  const LvmNode *device = lvm_text_find (&reader->tree, node, "device", LVM_STRING);
  guint64 start;

  g_ptr_array_add (group->pvs, pv);
  pv->name = lvm_text_key (&reader->tree, node);
  pv->device = device ? lvm_text_string (&reader->tree, device) : NULL;
  if (!remember (reader, reader->pvs, pv->name, group->pvs->len)
      || !get_string (reader, node, "id", &pv->uuid)
      || !get_number (reader, node, "pe_start", G_MAXINT64 / SECTOR, &start)
      || !get_number (reader, node, "pe_count", MAX_EXTENT_NUMBER, &pv->pe_count))
    return FALSE;
  pv->pe_start = start * SECTOR;
  pv->is_missing
      = has_flag (reader, node, "flags", "MISSING") || has_flag (reader, node, "status", "MISSING");
  return pv->pe_count <= (G_MAXINT64 - pv->pe_start) / group->extent_size
         || corrupt (reader, "pe_count");
}

/* What LVM calls its kinds of segments, without the flags that can follow a plus sign. */
static const char *const known_types[] = {
    "striped",    "linear",     "mirror",    "snapshot",   "error",       "zero",
    "thin",       "thin-pool",  "cache",     "cache-pool", "writecache",  "integrity",
    "vdo",        "vdo-pool",   "raid0",     "raid0_meta", "raid1",       "raid4",
    "raid5",      "raid5_n",    "raid5_la",  "raid5_ra",   "raid5_ls",    "raid5_rs",
    "raid6",      "raid6_zr",   "raid6_nr",  "raid6_nc",   "raid6_ls_6",  "raid6_rs_6",
    "raid6_la_6", "raid6_ra_6", "raid6_n_6", "raid10",     "raid10_near", NULL,
};

static gboolean
is_striped (const H2kLvmSegment *segment)
{
  return g_str_equal (segment->type, "striped") || g_str_equal (segment->type, "linear");
}

/* NODE, a string in a segment under the key of ENTRY, names an area if it is a PV's name; a number
 * follows it then. What another volume's name means depends on the type and the key. */
static gboolean
read_name (Reader *reader, H2kLvmSegment *segment, const LvmNode *entry, const LvmNode *node,
           guint64 count)
{
  g_autofree char *name = lvm_text_string (&reader->tree, node);
  guint pv = GPOINTER_TO_UINT (g_hash_table_lookup (reader->pvs, name));
  const LvmNode *number = lvm_text_next (&reader->tree, node);
  H2kLvmArea area = {pv ? pv - 1 : H2K_LVM_NO_PV, 0, count, H2K_LVM_NO_LV};

  g_hash_table_add (reader->parts, g_strdup (name));
  if (!pv)
    {
      H2kLvmPart part = {lvm_text_key (&reader->tree, entry), g_strdup (name), H2K_LVM_NO_LV};
      area.lv = segment->parts->len;
      g_array_append_val (segment->parts, part);
    }
  if (!pv && !is_striped (segment))
    return TRUE;
  if (!number || !lvm_text_number (&reader->tree, number, MAX_EXTENT_NUMBER, &area.start))
    return corrupt (reader, "an area without a start");
  g_array_append_val (segment->areas, area);
  return TRUE;
}

/* The areas and parts of a segment. */
static gboolean
read_areas (Reader *reader, const LvmNode *node, H2kLvmSegment *segment, guint64 count)
{
  for (const LvmNode *n = lvm_text_first (&reader->tree, node); n;
       n = lvm_text_next (&reader->tree, n))
    {
      if (lvm_text_key_is (&reader->tree, n, "type") || lvm_text_key_is (&reader->tree, n, "tags"))
        continue;
      if (n->kind == LVM_STRING && !read_name (reader, segment, n, n, count))
        return FALSE;
      if (n->kind != LVM_ARRAY)
        continue;
      for (const LvmNode *e = lvm_text_first (&reader->tree, n); e;
           e = lvm_text_next (&reader->tree, e))
        if (e->kind == LVM_STRING && !read_name (reader, segment, n, e, count))
          return FALSE;
    }
  return TRUE;
}

/* The numbers that only some types have. */
static gboolean
read_details (Reader *reader, const LvmNode *node, H2kLvmSegment *segment)
{
  struct
  {
    const char *key;
    guint64 *value, unit;
  } details[] = {
      {"stripe_size", &segment->stripe_size, SECTOR},
      {"data_copies", &segment->data_copies, 1},
      {"chunk_size", &segment->chunk_size, SECTOR},
      {"device_id", &segment->device_id, 1},
      {"transaction_id", &segment->transaction_id, 1},
      {"region_size", &segment->region_size, SECTOR},
      {"reshape_count", &segment->reshape_count, 1},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (details); i++)
    {
      if (!lvm_text_find (&reader->tree, node, details[i].key, LVM_NUMBER))
        continue;
      if (!get_number (reader, node, details[i].key, G_MAXINT64 / SECTOR, details[i].value))
        return FALSE;
      *details[i].value *= details[i].unit;
    }
  return TRUE;
}

static gboolean
read_segment (Reader *reader, const LvmNode *node, H2kLvmLv *lv)
{
  H2kLvmSegment *segment = g_new0 (H2kLvmSegment, 1);
  g_autofree char *type = NULL;
  guint64 stripes = 1;
  char *flags;

  g_ptr_array_add (lv->segments, segment);
  segment->areas = g_array_new (FALSE, FALSE, sizeof (H2kLvmArea));
  segment->parts = g_array_new (FALSE, FALSE, sizeof (H2kLvmPart));
  g_array_set_clear_func (segment->parts, part_clear);
  if (!get_string (reader, node, "type", &segment->type)
      || !get_number (reader, node, "start_extent", MAX_EXTENT_NUMBER, &segment->start)
      || !get_number (reader, node, "extent_count", MAX_EXTENT_NUMBER, &segment->count))
    return FALSE;
  type = g_strdup (segment->type);
  flags = strchr (type, '+');
  if (flags)
    *flags = 0;
  if (!g_strv_contains (known_types, type))
    {
      g_autofree char *safe = h2k_escape_text (segment->type, -1);
      g_set_error (reader->error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: a logical volume is of the unknown type %s", reader->name, safe);
      return FALSE;
    }
  if (is_striped (segment)
      && (!get_number (reader, node, "stripe_count", MAX_EXTENT_NUMBER, &stripes)))
    return FALSE;
  if (stripes == 0 || segment->count == 0 || segment->count % stripes != 0)
    return corrupt (reader, "stripe_count");
  if (!read_areas (reader, node, segment, segment->count / stripes)
      || !read_details (reader, node, segment))
    return FALSE;
  if (is_striped (segment) && segment->areas->len != stripes)
    return corrupt (reader, "stripes");
  segment->is_linear = is_striped (segment) && stripes == 1
                       && g_array_index (segment->areas, H2kLvmArea, 0).pv != H2K_LVM_NO_PV;
  return TRUE;
}

static int
compare_segments (gconstpointer a, gconstpointer b)
{
  const H2kLvmSegment *p = *(const H2kLvmSegment *const *)a, *q = *(const H2kLvmSegment *const *)b;

  return p->start < q->start ? -1 : p->start > q->start;
}

/* Whether the flags and the segments of LV are those of a plain volume. */
static gboolean
looks_plain (const Reader *reader, const LvmNode *node, const H2kLvmLv *lv)
{
  static const char *const status[] = {"READ", "WRITE", "VISIBLE", "FIXED_MINOR", NULL};
  static const char *const flags[] = {NULL};

  if (!has_only (reader, node, "status", status) || !has_flag (reader, node, "status", "READ")
      || !has_flag (reader, node, "status", "VISIBLE")
      || (lvm_text_find (&reader->tree, node, "flags", LVM_ARRAY)
          && !has_only (reader, node, "flags", flags)))
    return FALSE;
  for (guint i = 0; i < lv->segments->len; i++)
    if (!((const H2kLvmSegment *)lv->segments->pdata[i])->is_linear)
      return FALSE;
  return lv->segments->len > 0;
}

/* The words in the array called KEY in NODE. */
static GStrv
read_words (const Reader *reader, const LvmNode *node, const char *key)
{
  const LvmNode *array = lvm_text_find (&reader->tree, node, key, LVM_ARRAY);
  g_autoptr (GStrvBuilder) words = g_strv_builder_new ();

  for (const LvmNode *n = array ? lvm_text_first (&reader->tree, array) : NULL; n;
       n = lvm_text_next (&reader->tree, n))
    {
      g_autofree char *word = n->kind == LVM_STRING ? lvm_text_string (&reader->tree, n) : NULL;
      if (word)
        g_strv_builder_add (words, word);
    }
  return g_strv_builder_end (words);
}

static gboolean
read_lv (Reader *reader, const LvmNode *node)
{
  H2kLvmGroup *group = reader->group;
  H2kLvmLv *lv = g_new0 (H2kLvmLv, 1);

  g_ptr_array_add (group->lvs, lv);
  lv->segments = g_ptr_array_new_with_free_func (segment_free);
  lv->name = lvm_text_key (&reader->tree, node);
  lv->status = read_words (reader, node, "status");
  if (!remember (reader, reader->lvs, lv->name, group->lvs->len)
      || !get_string (reader, node, "id", &lv->uuid))
    return FALSE;
  for (const LvmNode *n = lvm_text_first (&reader->tree, node); n;
       n = lvm_text_next (&reader->tree, n))
    if (n->kind == LVM_SECTION && !read_segment (reader, n, lv))
      return FALSE;
  g_ptr_array_sort (lv->segments, compare_segments);
  for (guint i = 0; i < lv->segments->len; i++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[i];
      if (segment->start != lv->extents)
        return corrupt (reader, "segments with gaps");
      lv->extents += segment->count;
    }
  lv->is_plain = looks_plain (reader, node, lv);
  return lv->extents <= G_MAXINT64 / group->extent_size || corrupt (reader, "extent_count");
}

/* Find the volumes that SEGMENT is made of by their names. */
static void
resolve_parts (const Reader *reader, H2kLvmSegment *segment)
{
  for (guint i = 0; i < segment->parts->len; i++)
    {
      H2kLvmPart *part = &g_array_index (segment->parts, H2kLvmPart, i);
      guint lv = GPOINTER_TO_UINT (g_hash_table_lookup (reader->lvs, part->name));
      part->lv = lv ? lv - 1 : H2K_LVM_NO_LV;
    }
  for (guint i = 0; i < segment->areas->len; i++)
    {
      H2kLvmArea *area = &g_array_index (segment->areas, H2kLvmArea, i);
      if (area->pv == H2K_LVM_NO_PV)
        area->lv = g_array_index (segment->parts, H2kLvmPart, area->lv).lv;
    }
}

static gboolean
read_lists (Reader *reader, const LvmNode *node)
{
  const LvmNode *pvs = lvm_text_find (&reader->tree, node, "physical_volumes", LVM_SECTION);
  const LvmNode *lvs = lvm_text_find (&reader->tree, node, "logical_volumes", LVM_SECTION);

  for (const LvmNode *n = pvs ? lvm_text_first (&reader->tree, pvs) : NULL; n;
       n = lvm_text_next (&reader->tree, n))
    if (n->kind == LVM_SECTION && !read_pv (reader, n))
      return FALSE;
  for (const LvmNode *n = lvs ? lvm_text_first (&reader->tree, lvs) : NULL; n;
       n = lvm_text_next (&reader->tree, n))
    if (n->kind == LVM_SECTION && !read_lv (reader, n))
      return FALSE;
  for (guint i = 0; i < reader->group->lvs->len; i++)
    {
      H2kLvmLv *lv = reader->group->lvs->pdata[i];
      if (g_hash_table_contains (reader->parts, lv->name))
        lv->is_plain = FALSE;
      for (guint k = 0; k < lv->segments->len; k++)
        resolve_parts (reader, lv->segments->pdata[k]);
    }
  return TRUE;
}

static gboolean
read_group (Reader *reader, const LvmNode *node)
{
  H2kLvmGroup *group = reader->group;
  const LvmNode *format = lvm_text_find (&reader->tree, node, "format", LVM_STRING);
  guint64 extent;

  group->name = lvm_text_key (&reader->tree, node);
  if (format
      && !(format->value_length == 4 && memcmp (reader->tree.text + format->value, "lvm2", 4) == 0))
    return fail (reader->name, H2K_ERROR_UNSUPPORTED, reader->error,
                 "its volume group is of an unknown LVM format");
  if (!get_string (reader, node, "id", &group->uuid)
      || !get_number (reader, node, "seqno", G_MAXUINT32, &group->seqno)
      || !get_number (reader, node, "extent_size", G_MAXUINT32, &extent))
    return FALSE;
  if (extent == 0)
    return corrupt (reader, "extent_size");
  group->extent_size = extent * SECTOR;
  group->is_exported = has_flag (reader, node, "status", "EXPORTED");
  if (!read_lists (reader, node))
    return FALSE;
  group->is_partial = has_flag (reader, node, "status", "PARTIAL");
  for (guint i = 0; i < group->pvs->len; i++)
    group->is_partial |= ((const H2kLvmPv *)group->pvs->pdata[i])->is_missing;
  return TRUE;
}

H2kLvmGroup *
h2k_lvm_group_parse (const char *name, const char *text, gsize length, GError **error)
{
  g_autoptr (H2kLvmGroup) group = g_new0 (H2kLvmGroup, 1);
  g_autoptr (GHashTable) pvs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) lvs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_auto (LvmText) tree = {NULL};
  g_autoptr (GHashTable) parts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  Reader reader
      = {.name = name, .group = group, .pvs = pvs, .lvs = lvs, .parts = parts, .error = error};
  const LvmNode *found = NULL;
  guint line;

  group->pvs = g_ptr_array_new_with_free_func (pv_free);
  group->lvs = g_ptr_array_new_with_free_func (lv_free);
  if (length > MAX_TEXT)
    {
      fail (name, H2K_ERROR_UNSUPPORTED, error, "its LVM metadata is larger than 4 MiB");
      return NULL;
    }
  if (!lvm_text_parse (&tree, text, length, &line))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                   "%s: its LVM metadata is damaged in line %u", name, line);
      return NULL;
    }
  reader.tree = tree;
  for (const LvmNode *n = lvm_text_first (&tree, lvm_text_root (&tree)); n;
       n = lvm_text_next (&tree, n))
    {
      if (n->kind == LVM_SECTION && found)
        {
          corrupt (&reader, "it describes two groups");
          return NULL;
        }
      if (n->kind == LVM_SECTION)
        found = n;
    }
  if (!found)
    {
      corrupt (&reader, "it describes no group");
      return NULL;
    }
  return read_group (&reader, found) ? g_steal_pointer (&group) : NULL;
}

char *
h2k_lvm_lv_identity (const H2kLvmGroup *group, const H2kLvmLv *lv)
{
  return g_strdup_printf ("LVM %s %" G_GUINT64_FORMAT " %s %s", group->uuid, group->seqno, lv->uuid,
                          lv->name);
}

/* --- metadata areas -----------------------------------------------------------------------------
 */

typedef enum
{
  AREA_GOOD,
  AREA_IGNORED, /* the administrator wants it so */
  AREA_EMPTY,
  AREA_BAD,
  AREA_FAILED, /* the disk: an error is set */
} AreaState;

typedef struct
{
  GBytes *text;
  gboolean interrupted; /* a change was being made */
} AreaText;

/* Read the piece of AREA's ring that the location LOCN names. */
static AreaState
read_ring (H2kDisk *volume, const H2kLvmRange *area, const guint8 *locn, GBytes **text,
           GError **error)
{
  guint64 offset = h2k_le64 (locn + RAW_OFFSET), size = h2k_le64 (locn + RAW_SIZE), first;
  g_autofree char *data = NULL;

  if (offset < SECTOR || offset >= area->length || size == 0 || size > area->length - SECTOR
      || size > MAX_TEXT)
    return AREA_BAD;
  data = g_malloc (size);
  first = MIN (size, area->length - offset);
  if (!h2k_disk_pread (volume, area->offset + offset, (gsize)first, data, error)
      || (first < size
          && !h2k_disk_pread (volume, area->offset + SECTOR, (gsize)(size - first), data + first,
                              error)))
    return AREA_FAILED;
  if (lvm_crc (CRC_START, data, (gsize)size) != h2k_le32 (locn + RAW_CRC))
    return AREA_BAD;
  while (size > 0 && data[size - 1] == 0)
    size--;
  *text = g_bytes_new_take (g_steal_pointer (&data), (gsize)size);
  return AREA_GOOD;
}

static AreaState
read_area (H2kDisk *volume, const H2kLvmRange *area, AreaText *result, GError **error)
{
  guint8 header[SECTOR];

  if (area->length <= SECTOR || area->offset > volume->size
      || area->length > volume->size - area->offset)
    return AREA_BAD;
  if (!h2k_disk_pread (volume, area->offset, sizeof header, header, error))
    return AREA_FAILED;
  if (memcmp (header + MDA_MAGIC, mda_magic, 16) != 0
      || lvm_crc (CRC_START, header + MDA_MAGIC, sizeof header - MDA_MAGIC)
             != h2k_le32 (header + MDA_CRC)
      || h2k_le32 (header + MDA_VERSION) != 1 || h2k_le64 (header + MDA_START) != area->offset
      || h2k_le64 (header + MDA_SIZE) != area->length)
    return AREA_BAD;
  if (h2k_le32 (header + MDA_COMMITTED + RAW_FLAGS) & RAW_IGNORED)
    return AREA_IGNORED;
  if (h2k_le64 (header + MDA_COMMITTED + RAW_OFFSET) == 0)
    return AREA_EMPTY;
  result->interrupted = h2k_le64 (header + MDA_PRECOMMITTED + RAW_OFFSET) != 0;
  return read_ring (volume, area, header + MDA_COMMITTED, &result->text, error);
}

static const char areas_differ[] = "its metadata areas do not agree";

/* Take the group of an area, if it is newer than the one that there is. */
static gboolean
take_text (H2kDisk *volume, H2kLvmMember *member, const AreaText *area, GError **error)
{
  gsize length;
  const char *text = g_bytes_get_data (area->text, &length);
  H2kLvmGroup *group = h2k_lvm_group_parse (volume->name, text, length, error);

  if (!group)
    return FALSE;
  if (area->interrupted)
    member->doubt = "a change of its volume group was interrupted";
  if (member->group
      && (member->group->seqno != group->seqno || !g_str_equal (member->group->uuid, group->uuid)))
    member->doubt = areas_differ;
  if (member->group && member->group->seqno >= group->seqno)
    h2k_lvm_group_free (group);
  else
    {
      h2k_lvm_group_free (member->group);
      member->group = group;
    }
  return TRUE;
}

static gboolean
read_areas_of_member (H2kDisk *volume, H2kLvmMember *member, GError **error)
{
  guint n_empty = 0;

  for (guint i = 0; i < member->areas->len; i++)
    {
      AreaText area = {NULL};
      AreaState state
          = read_area (volume, &g_array_index (member->areas, H2kLvmRange, i), &area, error);
      gboolean ok = state != AREA_FAILED;
      n_empty += state == AREA_EMPTY;
      if (state == AREA_BAD)
        member->doubt = "a metadata area is damaged";
      else if (state == AREA_GOOD)
        ok = take_text (volume, member, &area, error);
      g_clear_pointer (&area.text, g_bytes_unref);
      if (!ok)
        return FALSE;
    }
  if (member->group && n_empty)
    member->doubt = areas_differ;
  return TRUE;
}

/* --- the label ----------------------------------------------------------------------------------
 */

/* The next of the locations at *AT of SECTOR_DATA; *END is set when the list ends. */
static gboolean
next_location (const guint8 *sector, guint *at, H2kLvmRange *range, gboolean *end)
{
  if (*at > SECTOR - LOCATION_SIZE)
    return FALSE;
  *range = (H2kLvmRange){h2k_le64 (sector + *at), h2k_le64 (sector + *at + 8)};
  *at += LOCATION_SIZE;
  *end = range->offset == 0;
  return TRUE;
}

static gboolean
parse_pv_header (H2kLvmMember *member, const guint8 *sector, guint at)
{
  guint n_data = 0, n = 0;
  H2kLvmRange range;
  gboolean end;

  if (at > SECTOR - PV_LISTS)
    return FALSE;
  for (guint i = 0, to = 0; i < PV_UUID_SIZE; i++)
    {
      if (i == 6 || i == 10 || i == 14 || i == 18 || i == 22 || i == 26)
        member->uuid[to++] = '-';
      member->uuid[to++] = (char)sector[at + i];
    }
  at += PV_LISTS;
  for (;; member->data_offset = range.offset, n_data++)
    if (!next_location (sector, &at, &range, &end))
      return FALSE;
    else if (end)
      break;
  for (; n < MAX_LOCATIONS; n++)
    {
      if (!next_location (sector, &at, &range, &end))
        return FALSE;
      if (end)
        return n_data == 1;
      g_array_append_val (member->areas, range);
    }
  return FALSE;
}

/* Read the first of the sectors that looks like a label, as LVM does. */
static gboolean
read_label (H2kDisk *volume, H2kLvmMember *member, GError **error)
{
  for (guint i = 0; i < LABEL_SECTORS && (i + 1) * SECTOR <= volume->size; i++)
    {
      guint8 sector[SECTOR];
      if (!h2k_disk_pread (volume, i * SECTOR, SECTOR, sector, error))
        return FALSE;
      if (memcmp (sector, "LABELONE", 8) != 0 || memcmp (sector + LABEL_TYPE, "LVM2 001", 8) != 0)
        continue;
      if (h2k_le64 (sector + LABEL_SECTOR) != i
          || lvm_crc (CRC_START, sector + LABEL_OFFSET, SECTOR - LABEL_OFFSET)
                 != h2k_le32 (sector + LABEL_CRC)
          || h2k_le32 (sector + LABEL_OFFSET) < LABEL_HEADER_SIZE
          || h2k_le32 (sector + LABEL_OFFSET) > SECTOR
          || !parse_pv_header (member, sector, h2k_le32 (sector + LABEL_OFFSET)))
        return fail (volume->name, H2K_ERROR_FILESYSTEM, error, "its LVM label is damaged");
      return TRUE;
    }
  return fail (volume->name, H2K_ERROR_FILESYSTEM, error, "it has no LVM label");
}

/* Which of its group's volumes the member is. */
static gboolean
find_self (H2kDisk *volume, H2kLvmMember *member, GError **error)
{
  const GPtrArray *pvs = member->group ? member->group->pvs : NULL;

  for (guint i = 0; pvs && i < pvs->len; i++)
    if (g_str_equal (((const H2kLvmPv *)pvs->pdata[i])->uuid, member->uuid))
      {
        member->pv = i;
        return TRUE;
      }
  return !pvs
         || fail (volume->name, H2K_ERROR_FILESYSTEM, error,
                  "its LVM metadata does not name this volume");
}

H2kLvmMember *
h2k_lvm_member_read (H2kDisk *volume, GError **error)
{
  g_autoptr (H2kLvmMember) member = g_new0 (H2kLvmMember, 1);

  member->areas = g_array_new (FALSE, FALSE, sizeof (H2kLvmRange));
  member->pv = H2K_LVM_NO_PV;
  if (!read_label (volume, member, error) || !read_areas_of_member (volume, member, error)
      || !find_self (volume, member, error))
    return NULL;
  return g_steal_pointer (&member);
}

void
h2k_lvm_member_free (H2kLvmMember *member)
{
  if (!member)
    return;
  g_array_unref (member->areas);
  h2k_lvm_group_free (member->group);
  g_free (member);
}
