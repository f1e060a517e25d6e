/* ext-recover.c - brings a filesystem whose guest was not shut down into order.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext.h"

gboolean
h2k_ext_recover (ExtFs *ext, const struct ext2_super_block *sb, GError **error)
{
  if (GUINT32_FROM_LE (sb->s_feature_incompat) & EXT3_FEATURE_INCOMPAT_RECOVER)
    return h2k_ext_refuse (ext, H2K_ERROR_UNSUPPORTED, error,
                           "the filesystem's journal holds changes: shut the virtual machine down "
                           "first");
  return TRUE;
}

gboolean
h2k_ext_clear_orphans (ExtFs *ext, GError **error)
{
  if (ext->fs->super->s_last_orphan && ext->base.writable)
    return h2k_ext_refuse (
        ext, H2K_ERROR_UNSUPPORTED, error,
        "the filesystem has orphaned files: shut the virtual machine down first");
  return TRUE;
}
