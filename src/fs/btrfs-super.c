/* btrfs-super.c - the superblocks of a btrfs filesystem, one on each of its devices: that of the
 * newest generation counts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-devices.h"
#include "fs/btrfs-tree.h"

#include "util/digest.h"

#include <xxhash.h>

#define MAX_NODE 65536u

#define MAGIC "_BHRfS_M"

const guint64 h2k_btrfs_supers[BTRFS_N_SUPERS] = {BTRFS_SUPER, 64ull << 20, 256ull << 30};

/* --- errors ----------------------------------------------------------------------------------- */

gboolean
h2k_btrfs_unsupported (const BtrfsVolume *volume, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  if (volume->purpose == BTRFS_FOR_FILES)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: files cannot be read from a btrfs filesystem %s", volume->disk->name, text);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s: which blocks are in use is not known for a btrfs filesystem %s",
                 volume->disk->name, text);
  return FALSE;
}

/* --- checksums -------------------------------------------------------------------------------- */

static void
sum_crc32c (const guint8 *data, gsize length, guint8 *sum)
{
  guint32 crc = GUINT32_TO_LE (~h2k_crc32c (~0u, data, length));

  memcpy (sum, &crc, sizeof crc);
}

/* As a number with the lowest byte first, not in xxHash's canonical order. */
static void
sum_xxhash64 (const guint8 *data, gsize length, guint8 *sum)
{
  guint64 hash = GUINT64_TO_LE (XXH64 (data, length, 0));

  memcpy (sum, &hash, sizeof hash);
}

static void
sum_sha256 (const guint8 *data, gsize length, guint8 *sum)
{
  h2k_sha256 (data, length, sum);
}

static void
sum_blake2b (const guint8 *data, gsize length, guint8 *sum)
{
  h2k_blake2b_256 (data, length, sum);
}

/* By the number in the superblock. */
static const struct
{
  guint size;
  void (*sum) (const guint8 *data, gsize length, guint8 *sum);
} csums[] = {
    {4, sum_crc32c},
    {8, sum_xxhash64},
    {32, sum_sha256},
    {32, sum_blake2b},
};

guint
h2k_btrfs_sum_size (const BtrfsVolume *volume)
{
  return csums[volume->csum].size;
}

gboolean
h2k_btrfs_sum_is_right (const BtrfsVolume *volume, const guint8 *data, gsize length,
                        const guint8 *sum)
{
  guint8 right[32];

  csums[volume->csum].sum (data, length, right);
  return memcmp (right, sum, csums[volume->csum].size) == 0;
}

/* The checksum at the beginning of a block is that of what is behind its 32 bytes. */
gboolean
h2k_btrfs_block_is_right (const BtrfsVolume *volume, const guint8 *block, gsize length)
{
  return h2k_btrfs_sum_is_right (volume, block + 32, length - 32, block);
}

/* --- the superblock --------------------------------------------------------------------------- */

/* Features, by their bits. What has no name here is not known, and what is set must be known: of
 * the first kind by everybody, of the other by those who write, or look at what only they use. */
typedef struct
{
  const char *name;
  gboolean is_known;
} Feature;

static const Feature incompat_features[64] = {
    {"mixed-backref", TRUE},
    {"default-subvol", TRUE},
    {"mixed-bg", TRUE},
    {"compress-lzo", TRUE},
    {"compress-zstd", TRUE},
    {"big-metadata", TRUE},
    {"extref", TRUE},
    {"raid56", TRUE},
    {"skinny-metadata", TRUE},
    {"no-holes", TRUE},
    {"metadata-uuid", TRUE},
    {"raid1c34", TRUE},
    {"zoned", FALSE},
    {"extent-tree-v2", FALSE},
    {"raid-stripe-tree", FALSE},
    [16] = {"simple-quota", TRUE},
    {"remap-tree", FALSE},
};
static const Feature ro_compat_features[64] = {
    {"free-space-tree", TRUE},
    {"free-space-tree-valid", TRUE},
    {"verity", TRUE},
    {"block-group-tree", TRUE},
};

#define INCOMPAT_METADATA_UUID 0x400u

/* Flags: written, relocation; errors were seen; others may only be written to another device. */
#define FLAGS_KNOWN 7ull
#define FLAG_ERROR 4u

static gboolean
is_power_of_2 (guint n)
{
  return n && !(n & (n - 1));
}

/* Add those of the features SET to NAMES that are not known. */
static void
add_unknown (GString *names, const Feature *features, const char *kind, guint64 set)
{
  for (guint i = 0; i < 64; i++)
    {
      const char *separator = names->len ? ", " : "";
      if (!(set >> i & 1) || features[i].is_known)
        continue;
      if (features[i].name)
        g_string_append_printf (names, "%s%s", separator, features[i].name);
      else
        g_string_append_printf (names, "%s%s bit %u", separator, kind, i);
    }
}

static gboolean
check_features (const BtrfsVolume *volume, const guint8 *super, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);

  add_unknown (names, incompat_features, "incompat", h2k_le64 (super + 188));
  if (volume->purpose == BTRFS_FOR_USAGE)
    add_unknown (names, ro_compat_features, "ro_compat", h2k_le64 (super + 180));
  return !names->len || h2k_btrfs_unsupported (volume, error, "with the features %s", names->str);
}

static gboolean
check_state (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  guint64 flags = h2k_le64 (super + BTRFS_SUPER_FLAGS);
  guint64 known = FLAGS_KNOWN | (volume->purpose == BTRFS_FOR_FILES ? BTRFS_FLAG_SEED : 0);

  volume->is_seed = (flags & BTRFS_FLAG_SEED) != 0;
  volume->has_errors = (flags & FLAG_ERROR) != 0;
  volume->has_log = h2k_le64 (super + 96) != 0;
  if (volume->has_errors && volume->purpose == BTRFS_FOR_USAGE)
    return h2k_btrfs_corrupt (volume, error, "it says so itself");
  if (flags & ~known)
    return h2k_btrfs_unsupported (volume, error, "with the flags 0x%" G_GINT64_MODIFIER "x", flags);
  if (!check_features (volume, super, error))
    return FALSE;
  if (volume->has_log && volume->purpose == BTRFS_FOR_USAGE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: its log has not been replayed",
                   volume->disk->name);
      return FALSE;
    }
  return TRUE;
}

/* Take over what SUPER says. */
static gboolean
parse_super (BtrfsVolume *volume, const guint8 *super, GError **error)
{
  gboolean has_uuid = (h2k_le64 (super + 188) & INCOMPAT_METADATA_UUID) != 0;

  memcpy (volume->fsid, super + (has_uuid ? 571 : BTRFS_SUPER_FSID), sizeof volume->fsid);
  volume->generation = h2k_le64 (super + BTRFS_SUPER_GENERATION);
  volume->sector_size = h2k_le32 (super + 144);
  volume->node_size = h2k_le32 (super + 148);
  volume->size = h2k_le64 (super + 112);
  volume->bytes_used = h2k_le64 (super + 120);
  volume->root_dir = h2k_le64 (super + 128);
  volume->n_devices = h2k_le64 (super + BTRFS_SUPER_DEVICES);
  volume->root_tree
      = (BtrfsRoot){BTRFS_ROOT_TREE, h2k_le64 (super + 80), volume->generation, super[198]};
  volume->chunk_tree
      = (BtrfsRoot){BTRFS_CHUNK_TREE, h2k_le64 (super + 88), h2k_le64 (super + 164), super[199]};
  return (h2k_le64 (super + 48) == BTRFS_SUPER && volume->n_devices
          && is_power_of_2 (volume->sector_size) && volume->sector_size >= 2048
          && is_power_of_2 (volume->node_size) && volume->node_size >= volume->sector_size
          && volume->node_size <= MAX_NODE && super[198] < BTRFS_MAX_LEVEL
          && super[199] < BTRFS_MAX_LEVEL
          && (volume->n_devices > 1 || volume->devices->len > 1
              || volume->size == g_array_index (volume->devices, BtrfsDevice, 0).size))
         || h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
}

/* --- the devices ------------------------------------------------------------------------------ */

gboolean
h2k_btrfs_read_super (H2kDisk *disk, BtrfsPurpose purpose, guint8 *super, GError **error)
{
  BtrfsVolume one = {.disk = disk, .purpose = purpose};

  if (!h2k_disk_pread (disk, BTRFS_SUPER, BTRFS_SUPER_SIZE, super, error))
    return FALSE;
  one.csum = h2k_le16 (super + 196);
  if (one.csum >= G_N_ELEMENTS (csums))
    return h2k_btrfs_unsupported (&one, error, "with checksums of type %u", one.csum);
  return (h2k_btrfs_block_is_right (&one, super, BTRFS_SUPER_SIZE)
          && memcmp (super + 64, MAGIC, 8) == 0)
         || h2k_btrfs_corrupt (&one, error, "its superblock is damaged");
}

/* Add the device on DISK, which begins at START of the volume's and whose superblock is SUPER. Its
 * own item in there: le64 201 number, le64 209 bytes, le64 217 of these in chunks, 267 UUID. */
static gboolean
add_device (BtrfsVolume *volume, const H2kDisk *disk, guint64 start, const guint8 *super,
            GError **error)
{
  BtrfsDevice device = {
      .devid = h2k_le64 (super + BTRFS_SUPER_DEVICE),
      .start = start,
      .room = disk->size,
      .size = h2k_le64 (super + 209),
      .used = h2k_le64 (super + 217),
      .generation = h2k_le64 (super + BTRFS_SUPER_GENERATION),
      .name = disk->name,
  };

  memcpy (device.uuid, super + 267, sizeof device.uuid);
  for (guint i = 0; i < volume->devices->len; i++)
    {
      const BtrfsDevice *other = &g_array_index (volume->devices, BtrfsDevice, i);
      if (other->devid == device.devid)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                       "%s: device %" G_GUINT64_FORMAT " of it is there more than once, on %s and "
                       "on %s (is a copy of a disk given, too?)",
                       volume->disk->name, device.devid, other->name, device.name);
          return FALSE;
        }
    }
  if (device.size > device.room || volume->devices->len >= BTRFS_MAX_DEVICES)
    return h2k_btrfs_corrupt (volume, error, "its superblock makes no sense");
  g_array_append_val (volume->devices, device);
  return TRUE;
}

/* A device that was away while others were written is behind them; where it mirrors others, these
 * are right. */
static gboolean
check_generations (BtrfsVolume *volume, GError **error)
{
  for (guint i = 0; i < volume->devices->len; i++)
    {
      BtrfsDevice *device = &g_array_index (volume->devices, BtrfsDevice, i);
      device->is_behind = device->generation < volume->generation;
      if (device->is_behind && volume->purpose == BTRFS_FOR_USAGE)
        return h2k_btrfs_corrupt (volume, error, "%s is behind its other devices", device->name);
    }
  return TRUE;
}

/* No copy of a superblock may be newer than the newest first one. */
static gboolean
check_copies (const BtrfsVolume *volume, const BtrfsDevice *device, const guint8 *super,
              GError **error)
{
  g_autofree guint8 *copy = g_malloc (BTRFS_SUPER_SIZE);

  for (guint i = 1; i < BTRFS_N_SUPERS; i++)
    {
      if (h2k_btrfs_supers[i] + BTRFS_SUPER_SIZE > device->room)
        return TRUE;
      if (!h2k_disk_pread (volume->disk, device->start + h2k_btrfs_supers[i], BTRFS_SUPER_SIZE,
                           copy, error))
        return FALSE;
      if (memcmp (copy + 32, super + 32, 16) == 0 && memcmp (copy + 64, MAGIC, 8) == 0
          && h2k_btrfs_block_is_right (volume, copy, BTRFS_SUPER_SIZE)
          && h2k_le64 (copy + BTRFS_SUPER_GENERATION) > volume->generation)
        return h2k_btrfs_corrupt (volume, error, "a copy of its superblock is newer");
    }
  return TRUE;
}

/* Read the superblocks of all devices; SUPER gets the newest one. */
static gboolean
read_devices (BtrfsVolume *volume, guint8 *super, GError **error)
{
  GPtrArray *disks = h2k_btrfs_devices_of (volume->disk);
  g_autofree guint8 *own = g_malloc (BTRFS_SUPER_SIZE);
  guint64 start = 0;

  for (guint i = 0; i < (disks ? disks->len : 1); i++)
    {
      H2kDisk *disk = disks ? disks->pdata[i] : volume->disk;
      if (!h2k_btrfs_read_super (disk, volume->purpose, own, error)
          || !add_device (volume, disk, start, own, error))
        return FALSE;
      if (i && memcmp (own + BTRFS_SUPER_FSID, super + BTRFS_SUPER_FSID, 16) != 0)
        return h2k_btrfs_corrupt (volume, error, "its devices are those of several filesystems");
      if (i == 0
          || h2k_le64 (own + BTRFS_SUPER_GENERATION) > h2k_le64 (super + BTRFS_SUPER_GENERATION))
        memcpy (super, own, BTRFS_SUPER_SIZE);
      start += disk->size;
    }
  volume->csum = h2k_le16 (super + 196);
  return TRUE;
}

gboolean
h2k_btrfs_read_supers (BtrfsVolume *volume, guint8 *super, GError **error)
{
  if (!read_devices (volume, super, error) || !check_state (volume, super, error)
      || !parse_super (volume, super, error) || !check_generations (volume, error))
    return FALSE;
  for (guint i = 0; i < volume->devices->len; i++)
    if (!check_copies (volume, &g_array_index (volume->devices, BtrfsDevice, i), super, error))
      return FALSE;
  return TRUE;
}
