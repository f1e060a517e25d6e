/* lvm-map.c - logical volumes as disks, and why some are none.
 *
 * After lvmcache(7), lvmraid(7), lvmthin(7), lvm-thin.h; the state of RAID images after dm-raid's
 * superblock (Linux, drivers/md/dm-raid.c), that of mirrors after dm-log.c there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-map.h"

#include "volume/lvm-thin.h"
#include "volume/map.h"

/* A RAID volume on images on physical volumes is two deep; a thin volume of a pool on RAID, with an
 * external origin that is such a one again, eight. */
#define MAX_DEPTH 12u

typedef struct
{
  const H2kLvmGroup *group;
  H2kDisk *const *pvs;
  /* One for each of the group's logical volumes: */
  H2kLvmDisk *disks;
  guint8 *state;       /* what has been done about it */
  guint8 *use;         /* what others need it for */
  H2kThinPool **pools; /* of thin pools that were opened */
} Builder;

enum
{
  TO_DO,
  IN_WORK,
  DONE,
};

enum
{
  HAS_SNAPSHOT = 1, /* which gets what is overwritten, or reads what lies here */
  HAS_MERGE = 2,    /* a snapshot is being written back */
};

static gboolean refuse (GError **error, H2kError code, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

static gboolean
refuse (GError **error, H2kError code, const char *format, ...)
{
  g_autofree char *text = NULL, *safe = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  safe = h2k_escape_text (text, -1);
  g_set_error_literal (error, H2K_ERROR, code, safe);
  return FALSE;
}

static gboolean
has_status (const H2kLvmLv *lv, const char *word)
{
  return g_strv_contains ((const char *const *)lv->status, word);
}

gboolean
h2k_lvm_lv_is_visible (const H2kLvmLv *lv)
{
  return has_status (lv, "VISIBLE");
}

const char *
h2k_lvm_lv_name (const H2kLvmLv *lv)
{
  for (guint s = 0; s < lv->segments->len; s++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[s];
      for (guint p = 0; p < segment->parts->len; p++)
        {
          const H2kLvmPart *part = &g_array_index (segment->parts, H2kLvmPart, p);
          if (strcmp (part->key, "cow_store") == 0 || strcmp (part->key, "merging_store") == 0)
            return part->name;
        }
    }
  return lv->name;
}

guint
h2k_lvm_segment_part (const H2kLvmSegment *segment, const char *key)
{
  for (guint i = 0; i < segment->parts->len; i++)
    {
      const H2kLvmPart *part = &g_array_index (segment->parts, H2kLvmPart, i);
      if (strcmp (part->key, key) == 0)
        return part->lv;
    }
  return H2K_LVM_NO_LV;
}

/* The type of SEGMENT without the flags that can follow a plus sign. */
static gboolean
is_type (const H2kLvmSegment *segment, const char *type)
{
  gsize length = strcspn (segment->type, "+");

  return strlen (type) == length && strncmp (segment->type, type, length) == 0;
}

/* --- striped and linear ------------------------------------------------------------------------
 */

static gboolean build (Builder *builder, guint number, guint depth, GError **error);

/* The disk of one of LV's parts. */
static H2kDisk *
part_disk (Builder *builder, const H2kLvmLv *lv, guint part, guint depth, GError **error)
{
  if (part == H2K_LVM_NO_LV || part >= builder->group->lvs->len)
    {
      refuse (error, H2K_ERROR_FILESYSTEM, "%s is made of a volume that is not there", lv->name);
      return NULL;
    }
  return build (builder, part, depth + 1, error) ? builder->disks[part].disk : NULL;
}

static gboolean
missing_pv (const H2kLvmGroup *group, const H2kLvmPv *pv, const char *name, GError **error)
{
  return refuse (error, H2K_ERROR_SOURCE,
                 "%s/%s needs the physical volume %s%s%s%s, which is on none of the disks: give "
                 "every disk of the VM",
                 group->name, name, pv->uuid, pv->device ? " (last seen as " : "",
                 pv->device ? pv->device : "", pv->device ? ")" : "");
}

static gboolean
place_area (Builder *builder, const H2kLvmLv *lv, const H2kLvmArea *area, guint depth,
            H2kMapMember *member, GError **error)
{
  const H2kLvmGroup *group = builder->group;
  const H2kLvmPv *pv;

  if (area->pv == H2K_LVM_NO_PV)
    {
      /* The map checks that it ends within the volume. */
      if (area->start > G_MAXINT64 / group->extent_size)
        return refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s lies outside of its volumes",
                       group->name, lv->name);
      member->disk = part_disk (builder, lv, area->lv, depth, error);
      member->offset = area->start * group->extent_size;
      return member->disk != NULL;
    }
  pv = group->pvs->pdata[area->pv];
  if (!builder->pvs[area->pv])
    return missing_pv (group, pv, lv->name, error);
  if (area->start > pv->pe_count || area->count > pv->pe_count - area->start)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s lies outside of its physical volume",
                   group->name, lv->name);
  member->disk = builder->pvs[area->pv];
  member->offset = pv->pe_start + area->start * group->extent_size;
  return TRUE;
}

/* The areas of SEGMENT, one chunk on each in turn. MEMBERS is filled. */
static gboolean
place_striped (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
               H2kMapRun *run, GArray *members, GError **error)
{
  guint n = segment->areas->len;

  for (guint i = 0; i < n; i++)
    {
      H2kMapMember member = {NULL};
      if (!place_area (builder, lv, &g_array_index (segment->areas, H2kLvmArea, i), depth, &member,
                       error))
        return FALSE;
      g_array_append_val (members, member);
    }
  if (n > 1 && (segment->stripe_size == 0 || (run->length / n) % segment->stripe_size != 0))
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s has stripes that do not fill its extents",
                   builder->group->name, lv->name);
  run->layout = (H2kMapLayout){.chunk = n > 1 ? segment->stripe_size : 0, .near = 1, .far = 1};
  return TRUE;
}

/* --- RAID --------------------------------------------------------------------------------------
 */

/* struct dm_raid_superblock, at the start of a metadata image; little-endian */
enum
{
  RAID_MAGIC = 0,
  RAID_DEVICES = 8,
  RAID_POSITION = 12,
  RAID_EVENTS = 16,
  RAID_FAILED = 24, /* a bit for each device */
  RAID_RECOVERY = 32,
  RAID_RESYNC = 40,
  RAID_LENGTH = 64,
};

#define RAID_MAGIC_VALUE 0x64526d44u /* "DmRd" */
#define RAID_MAX 64u

typedef struct
{
  guint64 events, failed;
  gboolean valid, recovering, dirty;
} RaidState;

static gboolean
read_raid_state (H2kDisk *disk, guint position, RaidState *state, GError **error)
{
  guint8 sb[RAID_LENGTH];

  memset (state, 0, sizeof *state);
  if (disk->size < sizeof sb)
    return TRUE;
  if (!h2k_disk_pread (disk, 0, sizeof sb, sb, error))
    return FALSE;
  state->valid
      = h2k_le32 (sb + RAID_MAGIC) == RAID_MAGIC_VALUE && h2k_le32 (sb + RAID_POSITION) == position;
  state->events = h2k_le64 (sb + RAID_EVENTS);
  state->failed = h2k_le64 (sb + RAID_FAILED);
  state->recovering = h2k_le64 (sb + RAID_RECOVERY) != G_MAXUINT64;
  state->dirty = h2k_le64 (sb + RAID_RESYNC) != G_MAXUINT64;
  return TRUE;
}

/* Of a RAID segment: which images are up to date. What is not is left out, and, as it would be
 * brought up to date from notes of what changed since, nothing may be written then. */
static gboolean
judge_images (const H2kLvmLv *lv, const RaidState *states, guint n, GArray *members,
              gboolean *intact, GError **error)
{
  guint64 newest = 0, failed = 0;

  for (guint i = 0; i < n; i++)
    if (states[i].valid && states[i].events >= newest)
      newest = states[i].events;
  for (guint i = 0; i < n; i++)
    if (states[i].valid && states[i].events == newest)
      failed |= states[i].failed;
  for (guint i = 0; i < n; i++)
    {
      H2kMapMember *member = &g_array_index (members, H2kMapMember, i);
      if (!states[i].valid || states[i].events != newest || states[i].recovering
          || (failed & (guint64)1 << i))
        member->disk = NULL;
      if (!member->disk || states[i].dirty)
        *intact = FALSE;
    }
  for (guint i = 0; i < n; i++)
    if (g_array_index (members, H2kMapMember, i).disk)
      return TRUE;
  return refuse (error, H2K_ERROR_SOURCE, "none of the images of %s is up to date", lv->name);
}

/* The images of a RAID segment and their states. */
static gboolean
place_images (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
              GArray *members, gboolean *intact, GError **error)
{
  RaidState states[RAID_MAX];
  guint n = 0;

  for (guint i = 0; i + 1 < segment->parts->len; i += 2)
    {
      const H2kLvmPart *meta = &g_array_index (segment->parts, H2kLvmPart, i);
      const H2kLvmPart *image = meta + 1;
      g_autoptr (GError) why = NULL;
      H2kMapMember member = {NULL};
      H2kDisk *state;

      if (n == RAID_MAX || strcmp (meta->key, "raids") != 0 || strcmp (image->key, "raids") != 0)
        return refuse (error, H2K_ERROR_FILESYSTEM, "%s has a damaged list of images", lv->name);
      state = part_disk (builder, lv, meta->lv, depth, &why);
      member.disk = state ? part_disk (builder, lv, image->lv, depth, &why) : NULL;
      memset (&states[n], 0, sizeof states[n]);
      if (!member.disk && !g_error_matches (why, H2K_ERROR, H2K_ERROR_SOURCE))
        {
          g_propagate_error (error, g_steal_pointer (&why));
          return FALSE;
        }
      if (member.disk && !read_raid_state (state, n, &states[n], error))
        return FALSE;
      g_array_append_val (members, member);
      n++;
    }
  return judge_images (lv, states, n, members, intact, error);
}

static gboolean
place_raid1 (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
             H2kMapRun *run, GArray *members, gboolean *intact, GError **error)
{
  if (!place_images (builder, lv, segment, depth, members, intact, error))
    return FALSE;
  run->layout = (H2kMapLayout){.near = members->len, .far = 1};
  return TRUE;
}

static gboolean
place_raid10 (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
              H2kMapRun *run, GArray *members, gboolean *intact, GError **error)
{
  guint64 copies = segment->data_copies ? segment->data_copies : 2;

  if (!place_images (builder, lv, segment, depth, members, intact, error))
    return FALSE;
  if (segment->stripe_size == 0 || copies > members->len)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s has a damaged RAID layout", lv->name);
  run->layout = (H2kMapLayout){.chunk = segment->stripe_size, .near = (guint)copies, .far = 1};
  return TRUE;
}

/* --- mirrors of the old kind -------------------------------------------------------------------
 */

/* struct log_header_disk; little-endian. Behind it is a bit for each region, set where the images
 * are the same. */
enum
{
  LOG_MAGIC = 0,
  LOG_VERSION = 4,
  LOG_BITS = 1024,
  LOG_MAGIC_VALUE = 0x4d695272,
  LOG_VERSION_VALUE = 2,
};

#define MAX_LOG_BITS ((guint64)1 << 27)

/* Whether the first N bits of the log DISK are set. */
static gboolean
read_mirror_log (H2kDisk *disk, guint64 n, gboolean *in_sync, GError **error)
{
  guint8 buffer[4096];

  *in_sync = FALSE;
  if (n > MAX_LOG_BITS || disk->size < LOG_BITS + (n + 7) / 8)
    return TRUE;
  if (!h2k_disk_pread (disk, 0, 8, buffer, error))
    return FALSE;
  if (h2k_le32 (buffer + LOG_MAGIC) != LOG_MAGIC_VALUE
      || h2k_le32 (buffer + LOG_VERSION) != LOG_VERSION_VALUE)
    return TRUE;
  for (guint64 at = 0; at < n; at += 8 * sizeof buffer)
    {
      gsize bits = (gsize)MIN (n - at, 8 * sizeof buffer);

      if (!h2k_disk_pread (disk, LOG_BITS + at / 8, (bits + 7) / 8, buffer, error))
        return FALSE;
      for (gsize i = 0; i < bits; i++)
        if (!(buffer[i / 8] & 1u << i % 8))
          return TRUE;
    }
  *in_sync = TRUE;
  return TRUE;
}

/* The images of a mirror. Where its log does not say that they are the same, the kernel copies the
 * first one to the others when it starts the mirror: then that one alone is read. */
static gboolean
place_mirror (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
              H2kMapRun *run, GArray *members, gboolean *intact, GError **error)
{
  guint number = h2k_lvm_segment_part (segment, "mirror_log");
  H2kDisk *log = number != H2K_LVM_NO_LV ? part_disk (builder, lv, number, depth, NULL) : NULL;
  gboolean in_sync = FALSE;

  if (log && segment->region_size
      && !read_mirror_log (log, (run->length - 1) / segment->region_size + 1, &in_sync, error))
    return FALSE;
  for (guint i = 0; lv->segments->len == 1 && i < segment->parts->len; i++)
    {
      const H2kLvmPart *part = &g_array_index (segment->parts, H2kLvmPart, i);
      g_autoptr (GError) why = NULL;
      H2kMapMember member = {NULL};

      if (strcmp (part->key, "mirrors") != 0)
        continue;
      if (in_sync || members->len == 0)
        member.disk = part_disk (builder, lv, part->lv, depth, &why);
      if (why && (!in_sync || !g_error_matches (why, H2K_ERROR, H2K_ERROR_SOURCE)))
        {
          g_propagate_error (error, g_steal_pointer (&why));
          return FALSE;
        }
      *intact = *intact && member.disk;
      g_array_append_val (members, member);
    }
  if (members->len == 0 || members->len > H2K_MAP_MAX_COPIES)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s has a damaged list of images", lv->name);
  run->layout = (H2kMapLayout){.near = members->len, .far = 1};
  return TRUE;
}

/* RAID0: images without copies, and with metadata in one of its two forms. */
static gboolean
place_raid0 (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
             H2kMapRun *run, GArray *members, GError **error)
{
  guint step = is_type (segment, "raid0_meta") ? 2 : 1;

  for (guint i = step - 1; i < segment->parts->len; i += step)
    {
      const H2kLvmPart *image = &g_array_index (segment->parts, H2kLvmPart, i);
      H2kMapMember member = {part_disk (builder, lv, image->lv, depth, error)};
      if (!member.disk)
        return FALSE;
      g_array_append_val (members, member);
    }
  if (members->len == 0 || segment->stripe_size == 0
      || (run->length / members->len) % segment->stripe_size != 0)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s has a damaged RAID layout", lv->name);
  run->layout = (H2kMapLayout){.chunk = segment->stripe_size, .near = 1, .far = 1};
  return TRUE;
}

/* --- what cannot be read -----------------------------------------------------------------------
 */

#define ELSEWHERE ": copy it in the guest to an ordinary or a mirrored volume"

static const struct
{
  const char *type; /* as LVM says, or how that begins */
  const char *why;
} unreadable[] = {
    {"thin-pool", "is the pool of thin volumes, no volume by itself"},
    {"cache-pool", "is a cache, no volume by itself"},
    {"cache", "is cached, and the cache may hold what its origin does not: detach it in the guest "
              "with lvconvert --uncache"},
    {"writecache", "has a write cache, which may hold what its origin does not: detach it in the "
                   "guest with lvconvert --splitcache"},
    {"vdo-pool", "is the pool of a VDO volume, no volume by itself"},
    {"vdo", "is compressed by VDO, which cannot be read: copy it in the guest to an ordinary "
            "volume"},
    {"integrity", "has integrity checksums, which cannot be kept up: remove them in the guest with "
                  "lvconvert --raidintegrity n"},
    {"snapshot", "is a snapshot, and those cannot be read; its origin can. To have the snapshot "
                 "itself, copy it in the guest to an ordinary volume, or merge it with lvconvert "
                 "--merge"},
    {"raid4", "is a RAID 4 volume, which cannot be read" ELSEWHERE},
    {"raid5", "is a RAID 5 volume, which cannot be read" ELSEWHERE},
    {"raid6", "is a RAID 6 volume, which cannot be read" ELSEWHERE},
    {"error", "has parts that were lost"},
    {"zero", "has parts that are not there"},
};

static gboolean
refuse_type (const Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment,
             GError **error)
{
  const char *why = "is of a type that cannot be read";

  for (guint i = 0; i < G_N_ELEMENTS (unreadable); i++)
    if (g_str_has_prefix (segment->type, unreadable[i].type))
      {
        why = unreadable[i].why;
        break;
      }
  return refuse (error, H2K_ERROR_UNSUPPORTED, "%s/%s (%s) %s", builder->group->name,
                 h2k_lvm_lv_name (lv), segment->type, why);
}

/* What says that the volume is being changed. */
static gboolean
check_status (const Builder *builder, const H2kLvmLv *lv, GError **error)
{
  static const char *const words[] = {"PVMOVE", "LOCKED", "CONVERTING", "MERGING", "REBUILD"};

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (has_status (lv, words[i]))
      return refuse (error, H2K_ERROR_UNSUPPORTED,
                     "%s/%s is being changed (%s): let that finish in the guest",
                     builder->group->name, lv->name, words[i]);
  return TRUE;
}

static gboolean
has_part (const H2kLvmSegment *segment, const char *key)
{
  for (guint i = 0; i < segment->parts->len; i++)
    if (strcmp (g_array_index (segment->parts, H2kLvmPart, i).key, key) == 0)
      return TRUE;
  return FALSE;
}

/* What it means to PART's volume that SEGMENT names it. A thin volume and what it is a snapshot of
 * share blocks, but nothing else. */
static guint8
use_of (const H2kLvmSegment *segment, const H2kLvmPart *part)
{
  if (is_type (segment, "snapshot") && strcmp (part->key, "origin") == 0)
    return HAS_SNAPSHOT | (has_part (segment, "merging_store") ? HAS_MERGE : 0);
  if (is_type (segment, "thin") && strcmp (part->key, "merge") == 0)
    return HAS_MERGE;
  if (is_type (segment, "thin") && strcmp (part->key, "external_origin") == 0)
    return HAS_SNAPSHOT;
  return 0;
}

static void
find_uses (Builder *builder)
{
  for (guint i = 0; i < builder->group->lvs->len; i++)
    {
      const H2kLvmLv *lv = builder->group->lvs->pdata[i];
      for (guint s = 0; s < lv->segments->len; s++)
        {
          const H2kLvmSegment *segment = lv->segments->pdata[s];
          for (guint p = 0; p < segment->parts->len; p++)
            {
              const H2kLvmPart *part = &g_array_index (segment->parts, H2kLvmPart, p);
              if (part->lv != H2K_LVM_NO_LV)
                builder->use[part->lv] |= use_of (segment, part);
            }
        }
    }
}

/* --- thin volumes ------------------------------------------------------------------------------
 */

static const char thin_note[]
    = "its blocks are a thin pool's, which shares them with snapshots and allots new ones: it is "
      "read, but not written. If a repair has to change it, copy it in the guest to an ordinary "
      "volume first";
static const char thin_check_note[]
    = "the kernel found errors in its thin pool, which asks for a check (lvconvert --repair in the "
      "guest): what is read may be incomplete, and it is not written";

/* LVM notes a change before it has the pool make it: then the pool is one behind. */
static gboolean
check_pool (const Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment,
            const H2kThinPool *pool, GError **error)
{
  guint64 is = h2k_thin_pool_transaction (pool), expected = segment->transaction_id;

  if (h2k_thin_pool_block_size (pool) != segment->chunk_size)
    return refuse (error, H2K_ERROR_FILESYSTEM,
                   "the thin pool %s/%s has blocks of another size than LVM's metadata says",
                   builder->group->name, lv->name);
  if (is != expected && is + 1 != expected)
    return refuse (error, H2K_ERROR_FILESYSTEM,
                   "the thin pool %s/%s is in its transaction %" G_GUINT64_FORMAT
                   ", and LVM's metadata is for %" G_GUINT64_FORMAT
                   ": repair it in the guest with lvconvert --repair",
                   builder->group->name, lv->name, is, expected);
  return TRUE;
}

/* The pool of the volume NUMBER, opened once. Its own. */
static H2kThinPool *
get_pool (Builder *builder, const H2kLvmLv *thin, guint number, guint depth, GError **error)
{
  g_autoptr (H2kThinPool) pool = NULL;
  g_autofree char *name = NULL;
  const H2kLvmSegment *segment;
  H2kDisk *metadata, *data;
  const H2kLvmLv *lv;

  if (number == H2K_LVM_NO_LV)
    {
      refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s has no thin pool", builder->group->name,
              thin->name);
      return NULL;
    }
  if (builder->pools[number])
    return builder->pools[number];
  lv = builder->group->lvs->pdata[number];
  segment = lv->segments->len == 1 ? lv->segments->pdata[0] : NULL;
  if (!segment || !is_type (segment, "thin-pool"))
    {
      refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s is no thin pool", builder->group->name, lv->name);
      return NULL;
    }
  if (!check_status (builder, lv, error))
    return NULL;
  metadata = part_disk (builder, lv, h2k_lvm_segment_part (segment, "metadata"), depth, error);
  data = metadata ? part_disk (builder, lv, h2k_lvm_segment_part (segment, "pool"), depth, error)
                  : NULL;
  name = g_strdup_printf ("%s/%s", builder->group->name, lv->name);
  pool = data ? h2k_thin_pool_open (metadata, data, name, error) : NULL;
  if (!pool || !check_pool (builder, lv, segment, pool, error))
    return NULL;
  builder->pools[number] = g_steal_pointer (&pool);
  return builder->pools[number];
}

static gboolean
build_thin (Builder *builder, const H2kLvmLv *lv, H2kLvmDisk *result, guint depth, GError **error)
{
  const H2kLvmSegment *segment = lv->segments->pdata[0];
  H2kThinPool *pool
      = get_pool (builder, lv, h2k_lvm_segment_part (segment, "thin_pool"), depth + 1, error);
  g_autofree char *name = g_strdup_printf ("logical volume %s/%s", builder->group->name, lv->name);
  H2kDisk *origin = NULL;

  if (!pool)
    return FALSE;
  if (has_part (segment, "external_origin"))
    {
      origin = part_disk (builder, lv, h2k_lvm_segment_part (segment, "external_origin"), depth,
                          error);
      if (!origin)
        return FALSE;
    }
  result->disk = h2k_thin_disk_new (pool, segment->device_id,
                                    lv->extents * builder->group->extent_size, origin, name, error);
  result->note = h2k_thin_pool_needs_check (pool) ? thin_check_note : thin_note;
  return result->disk != NULL;
}

/* --- all ---------------------------------------------------------------------------------------
 */

static gboolean
place_segment (Builder *builder, const H2kLvmLv *lv, const H2kLvmSegment *segment, guint depth,
               H2kMapRun *run, GArray *members, gboolean *intact, GError **error)
{
  run->length = segment->count * builder->group->extent_size;
  if (segment->reshape_count && g_str_has_prefix (segment->type, "raid"))
    return refuse (error, H2K_ERROR_UNSUPPORTED,
                   "%s/%s (%s) was reshaped, and its images still have the room for that, so that "
                   "it cannot be read" ELSEWHERE,
                   builder->group->name, h2k_lvm_lv_name (lv), segment->type);
  if (is_type (segment, "striped") || is_type (segment, "linear"))
    return place_striped (builder, lv, segment, depth, run, members, error);
  if (is_type (segment, "raid1"))
    return place_raid1 (builder, lv, segment, depth, run, members, intact, error);
  if (is_type (segment, "mirror"))
    return place_mirror (builder, lv, segment, depth, run, members, intact, error);
  if (is_type (segment, "raid10") || is_type (segment, "raid10_near"))
    return place_raid10 (builder, lv, segment, depth, run, members, intact, error);
  if (is_type (segment, "raid0") || is_type (segment, "raid0_meta"))
    return place_raid0 (builder, lv, segment, depth, run, members, error);
  return refuse_type (builder, lv, segment, error);
}

static void
members_free (gpointer data)
{
  g_array_unref (data);
}

static H2kDisk *
map_lv (Builder *builder, const H2kLvmLv *lv, gboolean writable, guint depth, gboolean *intact,
        GError **error)
{
  g_autoptr (GPtrArray) lists = g_ptr_array_new_with_free_func (members_free);
  g_autofree H2kMapRun *runs = g_new0 (H2kMapRun, lv->segments->len);
  g_autofree char *name = g_strdup_printf ("logical volume %s/%s", builder->group->name, lv->name);

  for (guint i = 0; i < lv->segments->len; i++)
    {
      GArray *members = g_array_new (FALSE, TRUE, sizeof (H2kMapMember));
      g_ptr_array_add (lists, members);
      if (!place_segment (builder, lv, lv->segments->pdata[i], depth, &runs[i], members, intact,
                          error))
        return NULL;
      runs[i].n_members = members->len;
      runs[i].members = (const H2kMapMember *)members->data;
    }
  return h2k_map_disk_new (runs, lv->segments->len, writable && *intact, "lvm", name, error);
}

static gboolean
build_once (Builder *builder, guint number, guint depth, GError **error)
{
  const H2kLvmLv *lv = builder->group->lvs->pdata[number];
  H2kLvmDisk *result = &builder->disks[number];
  gboolean intact = TRUE, snapshot = (builder->use[number] & HAS_SNAPSHOT) != 0;

  if (depth > MAX_DEPTH || lv->segments->len == 0)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s has a damaged description",
                   builder->group->name, lv->name);
  if (!check_status (builder, lv, error))
    return FALSE;
  if (builder->use[number] & HAS_MERGE)
    return refuse (error, H2K_ERROR_UNSUPPORTED,
                   "a snapshot is being merged into %s/%s: let that finish in the guest",
                   builder->group->name, lv->name);
  if (lv->segments->len == 1 && is_type (lv->segments->pdata[0], "thin"))
    return build_thin (builder, lv, result, depth, error);
  result->disk = map_lv (builder, lv, !snapshot && has_status (lv, "WRITE"), depth, &intact, error);
  if (!result->disk)
    return FALSE;
  if (snapshot)
    result->note = "it has snapshots, which would not see what is overwritten: it is not written";
  else if (!intact)
    result->note = "not all of its images are there and up to date: it is not written";
  return TRUE;
}

/* Make the disk of the volume NUMBER, if that has not been done. */
static gboolean
build (Builder *builder, guint number, guint depth, GError **error)
{
  H2kLvmDisk *result = &builder->disks[number];
  const H2kLvmLv *lv = builder->group->lvs->pdata[number];

  if (builder->state[number] == IN_WORK)
    return refuse (error, H2K_ERROR_FILESYSTEM, "%s/%s is made of itself", builder->group->name,
                   lv->name);
  if (builder->state[number] == TO_DO)
    {
      builder->state[number] = IN_WORK;
      build_once (builder, number, depth, &result->problem);
      builder->state[number] = DONE;
    }
  if (result->problem)
    g_propagate_error (error, g_error_copy (result->problem));
  return result->disk != NULL;
}

static void
disk_clear (gpointer data)
{
  H2kLvmDisk *disk = data;

  h2k_disk_unref (disk->disk);
  g_clear_error (&disk->problem);
}

GArray *
h2k_lvm_group_disks (const H2kLvmGroup *group, H2kDisk *const *pvs)
{
  GArray *disks = g_array_new (FALSE, TRUE, sizeof (H2kLvmDisk));
  guint n = group->lvs->len;
  g_autofree guint8 *state = g_new0 (guint8, n + 1), *use = g_new0 (guint8, n + 1);
  g_autofree H2kThinPool **pools = g_new0 (H2kThinPool *, n + 1);
  Builder builder = {.group = group, .pvs = pvs, .state = state, .use = use, .pools = pools};

  g_array_set_size (disks, n);
  g_array_set_clear_func (disks, disk_clear);
  builder.disks = (H2kLvmDisk *)disks->data;
  find_uses (&builder);
  for (guint i = 0; i < n; i++)
    if (h2k_lvm_lv_is_visible (group->lvs->pdata[i]))
      build (&builder, i, 0, NULL);
  for (guint i = 0; i < n; i++)
    h2k_thin_pool_unref (pools[i]);
  return disks;
}

H2kDisk *
h2k_lvm_lv_disk (H2kDisk *volume, const H2kLvmMember *member, const H2kLvmLv *lv, GError **error)
{
  const H2kLvmPv *pv = member->group->pvs->pdata[member->pv];
  g_autofree H2kMapRun *runs = NULL;
  g_autofree H2kMapMember *members = NULL;
  g_autofree char *name = NULL;

  if (!lv->is_plain)
    return NULL;
  name = g_strdup_printf ("%s, logical volume %s", volume->name, lv->name);
  runs = g_new0 (H2kMapRun, lv->segments->len);
  members = g_new0 (H2kMapMember, lv->segments->len);
  for (guint i = 0; i < lv->segments->len; i++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[i];
      const H2kLvmArea *area = &g_array_index (segment->areas, H2kLvmArea, 0);

      if (area->pv != member->pv)
        return NULL;
      if (area->start > pv->pe_count || area->count > pv->pe_count - area->start)
        {
          refuse (error, H2K_ERROR_FILESYSTEM, "%s: its extents do not fit into the volume", name);
          return NULL;
        }
      members[i].disk = volume;
      members[i].offset = pv->pe_start + area->start * member->group->extent_size;
      runs[i] = (H2kMapRun){.length = segment->count * member->group->extent_size,
                            .layout = {.near = 1, .far = 1},
                            .n_members = 1,
                            .members = &members[i]};
    }
  return h2k_map_disk_new (runs, lv->segments->len, FALSE, "lvm", name, error);
}
