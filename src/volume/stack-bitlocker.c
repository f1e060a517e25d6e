/* stack-bitlocker.c - BitLocker volumes that are suspended, opened with their clear key.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "volume/stack-private.h"

/* What the user has to do. -rebootcount: the migrated Windows starts twice, and a new TPM knows
 * nothing of the old one's keys. */
static GError *
locked (const H2kNode *node, const H2kBitlocker *volume)
{
  g_autofree char *protectors = h2k_bitlocker_protectors (volume);

  return g_error_new (
      H2K_ERROR, H2K_ERROR_UNSUPPORTED,
      "%s is encrypted by BitLocker (%s), and opens with %s, not with a clear key: "
      "suspend BitLocker in the running Windows (manage-bde -protectors -disable "
      "DRIVE: -rebootcount 0; Windows 7 has no -rebootcount) or turn it off "
      "(manage-bde -off DRIVE:, and wait until manage-bde -status says so), shut it "
      "down and export the disks again",
      node->name, volume->cipher->name, *protectors ? protectors : "another key");
}

static H2kDisk *
open_volume (const H2kNode *node, const H2kBitlocker *volume, const char *name, GError **error)
{
  GError *local = NULL;
  g_autoptr (GBytes) fvek = h2k_bitlocker_clear_key (volume, node->name, &local);

  if (fvek)
    return h2k_bitlocker_disk_new (node->volume->disk, volume, fvek, name, error);
  g_propagate_error (error, local ? local : locked (node, volume));
  return NULL;
}

void
stack_bitlocker_take (Builder *builder, H2kNode *node)
{
  GError *problem = NULL;
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (node->volume->disk, &problem);
  g_autofree char *name = g_strdup_printf ("BitLocker volume on %s", node->name);
  g_autoptr (GPtrArray) parents = g_ptr_array_new ();
  H2kDisk *disk = NULL;
  H2kNode *content;

  if (volume)
    {
      g_strlcpy (node->id.uuid, volume->uuid, sizeof node->id.uuid);
      disk = open_volume (node, volume, name, &problem);
    }
  if (!disk)
    {
      stack_set_problem (node, problem);
      return;
    }
  g_ptr_array_add (parents, node);
  content = stack_add_node (builder, H2K_NODE_BITLOCKER, name, disk, parents);
  content->uuid = g_strdup (volume->uuid);
  content->identity = h2k_bitlocker_identity (volume);
  content->type = g_strdup_printf ("BitLocker, %s, suspended (clear key)", volume->cipher->name);
}
