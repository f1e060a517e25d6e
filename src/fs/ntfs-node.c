/* ntfs-node.c - steps through the entries of an index's node.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-node.h"
#include "disk/disk.h"

gboolean
h2k_ntfs_node_open (NtfsNode *node, const guint8 *data, gsize size, gboolean of_names)
{
  *node = (NtfsNode){.data = data, .of_names = of_names};
  if (size < H2K_NTFS_NODE_HEADER)
    return FALSE;
  node->at = h2k_le32 (data);
  node->end = h2k_le32 (data + 4);
  node->children = data[12] & 1;
  return node->at >= H2K_NTFS_NODE_HEADER && node->at % 8 == 0 && node->end <= h2k_le32 (data + 8)
         && h2k_le32 (data + 8) <= size;
}

/* Whether the entry at P, which has LEFT bytes at most, makes sense; *LENGTH gets its bytes. */
static gboolean
check_entry (const NtfsNode *node, const guint8 *p, gsize left, guint *length)
{
  guint key, flags, room;

  if (left < H2K_NTFS_ENTRY_KEY)
    return FALSE;
  *length = h2k_le16 (p + 8);
  key = h2k_le16 (p + 10);
  flags = h2k_le16 (p + 12);
  room = H2K_NTFS_ENTRY_KEY + (flags & H2K_NTFS_ENTRY_HAS_CHILD ? 8 : 0);
  if (*length < room || *length % 8 || *length > left
      || ((flags & H2K_NTFS_ENTRY_HAS_CHILD) != 0) != node->children)
    return FALSE;
  if (flags & H2K_NTFS_ENTRY_IS_END)
    return TRUE;
  room = *length - room;
  if (key > room)
    return FALSE;
  if (node->of_names)
    return key >= H2K_NTFS_NAME
           && key - H2K_NTFS_NAME >= p[H2K_NTFS_ENTRY_KEY + H2K_NTFS_NAME_UNITS] * 2u;
  return h2k_le16 (p + 2) == 0
         || (h2k_le16 (p) >= H2K_NTFS_ENTRY_KEY && h2k_le16 (p) <= *length
             && h2k_le16 (p + 2) <= *length - h2k_le16 (p));
}

gboolean
h2k_ntfs_node_next (NtfsNode *node, const guint8 **entry, guint *length)
{
  if (node->at > node->end
      || !check_entry (node, node->data + node->at, node->end - node->at, length))
    return FALSE;
  *entry = node->data + node->at;
  node->at += *length;
  return !(h2k_le16 (*entry + 12) & H2K_NTFS_ENTRY_IS_END) || node->at == node->end;
}

guint
h2k_ntfs_block_unit (guint block_size, guint cluster_size)
{
  return cluster_size <= block_size ? cluster_size : MIN (cluster_size, 512);
}
