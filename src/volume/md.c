/* md.c - the superblocks of Linux software RAID.
 *
 * After include/uapi/linux/raid/md_p.h and drivers/md/md.c of Linux.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md.h"

#define SECTOR 512u
#define MAGIC 0xa92b4efcu
#define MAX_RAID_DISKS 1920u /* roles that fit into a superblock of version 1 */

/* struct mdp_superblock_1; little-endian */
enum
{
  V1_MAGIC = 0,
  V1_MAJOR = 4,
  V1_FEATURES = 8,
  V1_UUID = 16,
  V1_NAME = 32,
  V1_LEVEL = 72,
  V1_LAYOUT = 76,
  V1_SIZE = 80, /* sectors */
  V1_CHUNK = 88,
  V1_RAID_DISKS = 92,
  V1_DATA_OFFSET = 128,
  V1_DATA_SIZE = 136,
  V1_SUPER_OFFSET = 144,
  V1_DEVICE = 160,
  V1_EVENTS = 200,
  V1_RESYNC = 208,
  V1_CHECKSUM = 216,
  V1_MAX_DEV = 220,
  V1_ROLES = 256,
  V1_LENGTH = 4096,
};

enum
{
  FEATURE_BITMAP = 1,
  FEATURE_RECOVERY = 2,
  FEATURE_RESHAPE = 4,
  FEATURE_BAD_BLOCKS = 8,
  FEATURE_REPLACEMENT = 16,
  FEATURE_JOURNAL = 512,
  FEATURE_PPL = 1024,
  FEATURE_MULTIPLE_PPLS = 2048,
  FEATURE_RAID0_LAYOUT = 4096,
};

/* struct mdp_superblock_s: 1024 words of the host's byte order */
enum
{
  V0_MAGIC = 0,
  V0_MAJOR = 1,
  V0_MINOR = 2,
  V0_UUID0 = 5,
  V0_LEVEL = 7,
  V0_SIZE = 8, /* KiB */
  V0_RAID_DISKS = 10,
  V0_MD_MINOR = 11,
  V0_UUID1 = 13,
  V0_STATE = 33,
  V0_CHECKSUM = 38,
  V0_EVENTS = 39, /* two words */
  V0_LAYOUT = 64,
  V0_CHUNK = 65, /* bytes */
  V0_DISKS = 128,
  V0_MAX_DISKS = 27,
  V0_THIS_DISK = 992,
  V0_LENGTH = 4096,
};

/* In struct mdp_device_descriptor_s */
enum
{
  DISK_SLOT = 3,
  DISK_STATE = 4,
  DISK_LENGTH = 32, /* words */
  DISK_FAULTY = 1 << 0,
  DISK_ACTIVE = 1 << 1,
  DISK_SYNC = 1 << 2,
  DISK_REMOVED = 1 << 3,
};

enum
{
  STATE_CLEAN = 1 << 0,
  STATE_BITMAP = 1 << 8,
};

static gboolean
damaged (H2kDisk *disk, GError **error, const char *what)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: its RAID superblock is damaged: %s",
               disk->name, what);
  return FALSE;
}

/* What the numbers of both versions have in common. */
static gboolean
check_member (H2kDisk *disk, const H2kMdMember *member, GError **error)
{
  if (member->raid_disks == 0 || member->raid_disks > MAX_RAID_DISKS)
    return damaged (disk, error, "the number of disks");
  if (member->data_offset > disk->size || member->data_length > disk->size - member->data_offset)
    return damaged (disk, error, "the data's place");
  if (member->size > disk->size - member->data_offset)
    return damaged (disk, error, "the size");
  return TRUE;
}

/* Sectors as bytes; what is too large is so much that no disk has it. */
static guint64
bytes_of (guint64 sectors)
{
  return sectors > G_MAXINT64 / SECTOR ? G_MAXINT64 : sectors * SECTOR;
}

guint
h2k_md_slot_by (const H2kMdMember *member, guint number)
{
  guint role = number < member->n_roles ? member->roles[number] : G_MAXUINT16;

  return role < member->raid_disks ? role : H2K_MD_NO_SLOT;
}

/* --- version 1 ---------------------------------------------------------------------------------
 */

static guint32
fold (guint64 sum)
{
  return (guint32)(sum & 0xffffffff) + (guint32)(sum >> 32);
}

static guint32
checksum_v1 (const guint8 *sb, guint length)
{
  guint64 sum = 0;

  for (guint at = 0; at + 4 <= length; at += 4)
    sum += at == V1_CHECKSUM ? 0 : h2k_le32 (sb + at);
  if (length % 4)
    sum += h2k_le16 (sb + length / 4 * 4);
  return fold (sum);
}

static void
count_v1 (H2kMdMember *member)
{
  member->counted = g_new0 (guint8, member->raid_disks);
  for (guint i = 0; i < member->n_roles; i++)
    if (member->roles[i] < member->raid_disks)
      member->counted[member->roles[i]] = TRUE;
}

static gboolean
parse_v1 (H2kDisk *disk, const guint8 *sb, H2kMdMember *member, GError **error)
{
  guint32 n_roles = h2k_le32 (sb + V1_MAX_DEV), features = h2k_le32 (sb + V1_FEATURES);
  guint64 resync = h2k_le64 (sb + V1_RESYNC);
  const guint8 *u = sb + V1_UUID;

  if (n_roles > (V1_LENGTH - V1_ROLES) / 2
      || checksum_v1 (sb, V1_ROLES + 2 * n_roles) != h2k_le32 (sb + V1_CHECKSUM))
    return damaged (disk, error, "its checksum is wrong");
  g_snprintf (member->uuid, sizeof member->uuid, "%08x:%08x:%08x:%08x", h2k_be32 (u),
              h2k_be32 (u + 4), h2k_be32 (u + 8), h2k_be32 (u + 12));
  member->name = h2k_escape_text ((const char *)sb + V1_NAME,
                                  (gssize)strnlen ((const char *)sb + V1_NAME, 32));
  member->level = (gint32)h2k_le32 (sb + V1_LEVEL);
  member->layout = h2k_le32 (sb + V1_LAYOUT);
  if (member->level == 0 && !(features & FEATURE_RAID0_LAYOUT))
    member->layout = 0;
  member->chunk = (guint64)h2k_le32 (sb + V1_CHUNK) * SECTOR;
  member->raid_disks = h2k_le32 (sb + V1_RAID_DISKS);
  member->size = member->level > 0 ? bytes_of (h2k_le64 (sb + V1_SIZE)) : 0;
  member->data_offset = bytes_of (h2k_le64 (sb + V1_DATA_OFFSET));
  member->data_length = bytes_of (h2k_le64 (sb + V1_DATA_SIZE));
  member->number = h2k_le32 (sb + V1_DEVICE);
  member->n_roles = n_roles;
  member->roles = g_new (guint16, n_roles + 1);
  for (guint i = 0; i < n_roles; i++)
    member->roles[i] = h2k_le16 (sb + V1_ROLES + 2 * i);
  member->slot = h2k_md_slot_by (member, member->number);
  member->events = h2k_le64 (sb + V1_EVENTS);
  member->is_dirty = member->level > 0 && resync != G_MAXUINT64;
  member->is_recovering = (features & FEATURE_RECOVERY) != 0;
  member->is_replacement = (features & FEATURE_REPLACEMENT) != 0;
  member->has_bitmap = (features & FEATURE_BITMAP) != 0;
  member->has_bad_blocks = (features & FEATURE_BAD_BLOCKS) != 0;
  member->is_reshaping = (features & FEATURE_RESHAPE) != 0;
  member->has_journal = (features & FEATURE_JOURNAL) != 0;
  member->has_ppl = (features & (FEATURE_PPL | FEATURE_MULTIPLE_PPLS)) != 0;
  if (!check_member (disk, member, error))
    return FALSE;
  count_v1 (member);
  return TRUE;
}

/* FALSE and no error: there is none. */
static gboolean
read_v1 (H2kDisk *disk, H2kMdMember *member, GError **error)
{
  guint64 sectors = disk->size / SECTOR;
  const struct
  {
    const char *version;
    guint64 sector;
  } places[] = {
      {"1.1", 0},
      {"1.2", 8},
      {"1.0", sectors >= 16 ? (sectors - 16) & ~(guint64)7 : G_MAXUINT64},
  };

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      guint8 sb[V1_LENGTH] = {0};
      guint64 at = places[i].sector;

      if (at >= sectors)
        continue;
      if (!h2k_disk_pread (disk, at * SECTOR, (gsize)MIN (sizeof sb, disk->size - at * SECTOR), sb,
                           error))
        return FALSE;
      if (h2k_le32 (sb + V1_MAGIC) != MAGIC || h2k_le32 (sb + V1_MAJOR) != 1
          || h2k_le64 (sb + V1_SUPER_OFFSET) != at)
        continue;
      g_strlcpy (member->version, places[i].version, sizeof member->version);
      return parse_v1 (disk, sb, member, error);
    }
  return FALSE;
}

/* --- version 0.90 ------------------------------------------------------------------------------
 */

typedef struct
{
  guint8 data[V0_LENGTH];
  gboolean big;
} SuperV0;

static guint32
word (const SuperV0 *sb, guint i)
{
  return sb->big ? h2k_be32 (sb->data + 4 * i) : h2k_le32 (sb->data + 4 * i);
}

static guint32
checksum_v0 (const SuperV0 *sb)
{
  guint64 sum = 0;

  for (guint i = 0; i < V0_LENGTH / 4; i++)
    sum += i == V0_CHECKSUM ? 0 : word (sb, i);
  return fold (sum);
}

static void
count_v0 (const SuperV0 *sb, H2kMdMember *member)
{
  member->counted = g_new0 (guint8, member->raid_disks);
  for (guint i = 0; i < V0_MAX_DISKS; i++)
    {
      guint32 slot = word (sb, V0_DISKS + i * DISK_LENGTH + DISK_SLOT);
      guint32 state = word (sb, V0_DISKS + i * DISK_LENGTH + DISK_STATE);

      if (slot < member->raid_disks && (state & DISK_ACTIVE) && (state & DISK_SYNC)
          && !(state & (DISK_FAULTY | DISK_REMOVED)))
        member->counted[slot] = TRUE;
    }
}

static gboolean
parse_v0 (H2kDisk *disk, guint64 at, const SuperV0 *sb, H2kMdMember *member, GError **error)
{
  guint32 state = word (sb, V0_THIS_DISK + DISK_STATE), slot = word (sb, V0_THIS_DISK + DISK_SLOT);

  if (checksum_v0 (sb) != word (sb, V0_CHECKSUM))
    return damaged (disk, error, "its checksum is wrong");
  g_strlcpy (member->version, "0.90", sizeof member->version);
  g_snprintf (member->uuid, sizeof member->uuid, "%08x:%08x:%08x:%08x", word (sb, V0_UUID0),
              word (sb, V0_UUID1), word (sb, V0_UUID1 + 1), word (sb, V0_UUID1 + 2));
  member->minor = word (sb, V0_MD_MINOR);
  member->level = (gint32)word (sb, V0_LEVEL);
  member->layout = member->level == 0 ? 0 : word (sb, V0_LAYOUT);
  member->chunk = word (sb, V0_CHUNK);
  member->raid_disks = word (sb, V0_RAID_DISKS);
  member->size = member->level > 0 ? (guint64)word (sb, V0_SIZE) * 1024 : 0;
  member->data_length = at;
  member->slot = (state & DISK_FAULTY) || !(state & DISK_SYNC) || slot >= member->raid_disks
                     ? H2K_MD_NO_SLOT
                     : slot;
  member->events = (guint64)word (sb, V0_EVENTS + !sb->big) << 32 | word (sb, V0_EVENTS + sb->big);
  member->is_dirty = member->level > 0 && !(word (sb, V0_STATE) & STATE_CLEAN);
  member->has_bitmap = (word (sb, V0_STATE) & STATE_BITMAP) != 0;
  member->is_reshaping = word (sb, V0_MINOR) >= 91;
  if (!check_member (disk, member, error))
    return FALSE;
  count_v0 (sb, member);
  return TRUE;
}

/* FALSE and no error: there is none. */
static gboolean
read_v0 (H2kDisk *disk, H2kMdMember *member, GError **error)
{
  guint64 place = disk->size / 65536 * 65536;
  SuperV0 sb;

  if (place < 65536)
    return FALSE;
  place -= 65536;
  if (!h2k_disk_pread (disk, place, sizeof sb.data, sb.data, error))
    return FALSE;
  for (guint big = 0; big < 2; big++)
    {
      sb.big = big != 0;
      if (word (&sb, V0_MAGIC) == MAGIC && word (&sb, V0_MAJOR) == 0 && word (&sb, V0_MINOR) >= 90)
        return parse_v0 (disk, place, &sb, member, error);
    }
  return FALSE;
}

H2kMdMember *
h2k_md_member_read (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kMdMember) member = g_new0 (H2kMdMember, 1);
  GError *failure = NULL;

  if (read_v1 (disk, member, &failure) || (!failure && read_v0 (disk, member, &failure)))
    return g_steal_pointer (&member);
  if (failure)
    g_propagate_error (error, failure);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: it has no RAID superblock",
                 disk->name);
  return NULL;
}

void
h2k_md_member_free (H2kMdMember *member)
{
  if (!member)
    return;
  g_free (member->name);
  g_free (member->roles);
  g_free (member->counted);
  g_free (member);
}
