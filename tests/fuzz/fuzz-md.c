/* fuzz-md.c - RAID superblocks: what is read of a member is consistent, and an array of it reads.
 *
 * The input is a disk; "linux_raid_member" superblocks of all versions are looked for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md.h"

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* Whatever the superblock says, the array made of this member and of copies of it can be read from
 * its first to its last byte. */
int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (MAX (size, 1) + (size % 7) * 65536);
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (H2kMdMember) member = NULL;
  g_autoptr (H2kDisk) array = NULL;
  gboolean frozen;
  H2kMdDisk members[1];
  guint8 bytes[512];

  if (size > 0)
    h2k_disk_pwrite (disk, 0, size, data, NULL);
  member = h2k_md_member_read (disk, NULL);
  if (!member)
    return 0;
  members[0] = (H2kMdDisk){member, disk};
  array = h2k_md_array_disk (members, 1, size % 2 == 0, notes, &frozen, NULL);
  for (guint64 i = 0; array && i < 8; i++)
    {
      guint64 at = array->size / 8 * i;
      gsize n = (gsize)MIN (sizeof bytes, array->size - at);
      H2kExtent extent;

      if (n == 0)
        continue;
      if (!h2k_disk_pread (array, at, n, bytes, NULL)
          || !h2k_disk_extent (array, at, array->size, &extent, NULL))
        g_error ("the array is not on its member");
    }
  return 0;
}
