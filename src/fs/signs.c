/* signs.c - finds a volume that looks like two things at once.
 *
 * The one that was made last is the one that counts, and which one that is nobody can tell; what is
 * free in the one may be the data of the other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/signs.h"

typedef struct
{
  const char *type;
  guint64 offset;
  const char *magic;
} Sign;

static const Sign signs[] = {
    {"xfs", 0, "XFSB"},
    {"crypto_LUKS", 0, "LUKS\xba\xbe"},
    {"ceph_bluestore", 0, "bluestore block"},
    {"ntfs", 3, "NTFS    "},
    {"exfat", 3, "EXFAT   "},
    {"oracleasm", 32, "ORCLDISK"},
    {"vfat", 54, "FAT"},
    {"vfat", 82, "FAT32"},
    {"LVM2_member", 512, "LABELONE"},
    {"f2fs", 1024, "\x10\x20\xf5\xf2"},
    {"ext4", 1080, "\x53\xef"},
    {"bcache", 4120, "\xc6\x85\x73\xf6"}, /* bcachefs, too */
    {"zfs_member", 16408, "version"},     /* the first name in its label */
    {"jfs", 32768, "JFS1"},
    {"iso9660", 32769, "CD001"},
    {"reiserfs", 65588, "ReIsEr"},
    {"btrfs", 65600, "_BHRfS_M"},
};

gboolean
h2k_fs_other_sign (H2kDisk *volume, const char *own, const char **other, GError **error)
{
  *other = NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (signs) && !*other; i++)
    {
      guint8 bytes[16];
      gsize length = strlen (signs[i].magic);
      if (g_str_equal (signs[i].type, own) || volume->size < signs[i].offset + length)
        continue;
      if (!h2k_disk_pread (volume, signs[i].offset, length, bytes, error))
        return FALSE;
      if (memcmp (bytes, signs[i].magic, length) == 0)
        *other = signs[i].type;
    }
  return TRUE;
}
