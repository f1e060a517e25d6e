/* ntfs-node.h - the nodes of an index: its root's and those in its blocks.
 *
 * Nothing in a node is trusted: what h2k_ntfs_node_next() returns lies inside it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <glib.h>

/* The root: le32 0 type of what is indexed, le32 4 how it is sorted, le32 8 bytes of a block, 16 a
 * node. A block: "INDX", le64 16 its number, 24 a node. A node: le32 0 where its entries begin,
 * le32 4 where they end, le32 8 where its place ends, u8 12 whether it has children.
 *
 * An entry: le64 0 the file, of names; else le16 0 where its data are and le16 2 their bytes; le16
 * 8 its length, le16 10 of its key, le16 12 flags, 16 the key; the number of the child, whose keys
 * come before its own, in the last 8 bytes. */
enum
{
  H2K_NTFS_ROOT_NODE = 16,
  H2K_NTFS_BLOCK_NODE = 24,
  H2K_NTFS_NODE_HEADER = 16,
  H2K_NTFS_ENTRY_KEY = 16,
  H2K_NTFS_ENTRY_HAS_CHILD = 1,
  H2K_NTFS_ENTRY_IS_END = 2,

  /* A key of names, as the attribute of the same content: le64 0 the directory, u8 64 units of the
   * name, u8 65 its kind, 66 the name. */
  H2K_NTFS_NAME_UNITS = 64,
  H2K_NTFS_NAME_KIND = 65,
  H2K_NTFS_NAME = 66,
};

#define H2K_NTFS_MAX_DEPTH 16u
#define H2K_NTFS_MAX_BLOCK 65536u

typedef struct
{
  const guint8 *data;
  gsize at, end; /* of its entries */
  gboolean of_names, children;
} NtfsNode;

/* The node at DATA, which has SIZE bytes. FALSE: it makes no sense. */
gboolean h2k_ntfs_node_open (NtfsNode *node, const guint8 *data, gsize size, gboolean of_names);
/* The next entry, and its bytes. FALSE: it makes no sense. The last one has IS_END, and no key. */
gboolean h2k_ntfs_node_next (NtfsNode *node, const guint8 **entry, guint *length);
/* Bytes that the number of a block counts. */
guint h2k_ntfs_block_unit (guint block_size, guint cluster_size);
