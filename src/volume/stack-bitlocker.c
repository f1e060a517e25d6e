/* stack-bitlocker.c - BitLocker volumes, opened with their clear key or with keys that were given.
 *
 * What opens only with a key that was given is not written: Windows would ask for its recovery key
 * at the first boot, since the TPM stays behind, before it could do anything.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"
#include "volume/stack-private.h"

/* -rebootcount: the migrated Windows starts more than once before BitLocker can be resumed. */
static const char suspend[]
    = "suspend BitLocker in the running Windows (manage-bde -protectors -disable DRIVE: "
      "-rebootcount 0; Windows 7 has no -rebootcount) or turn it off (manage-bde -off DRIVE:, and "
      "wait until manage-bde -status says so), shut it down and export the disks again";

/* What the user has to do. */
static GError *
locked (const H2kNode *node, const H2kBitlocker *volume, gboolean tried)
{
  g_autofree char *protectors = h2k_bitlocker_protectors (volume);
  g_autofree char *look = NULL;

  if (tried)
    look = g_strdup (". No key that was given opens it");
  else if (volume->protectors & (H2K_BITLOCKER_RECOVERY | H2K_BITLOCKER_PASSWORD))
    look = g_strdup_printf (". To look inside only, give its recovery password or password with "
                            "--key UUID=%s:file:FILE",
                            volume->uuid);
  return g_error_new (H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                      "%s is encrypted by BitLocker (%s), and opens with %s, not with a clear key: "
                      "%s%s",
                      node->name, volume->cipher->name, *protectors ? protectors : "another key",
                      suspend, look ? look : "");
}

/* *BY_KEY: it was one that the user gave. */
static GBytes *
find_key (Builder *builder, const H2kNode *node, const H2kBitlocker *volume, gboolean *by_key,
          GError **error)
{
  g_autoptr (GPtrArray) secrets = NULL;
  GError *local = NULL;
  GBytes *fvek = h2k_bitlocker_clear_key (volume, node->name, &local);

  *by_key = FALSE;
  if (!fvek && !local)
    secrets = h2k_keys_find (builder->keys, node->names, volume->uuid, &local);
  if (secrets && secrets->len)
    {
      *by_key = TRUE;
      fvek = h2k_bitlocker_unlock (volume, secrets, &builder->unlock_time, &local);
    }
  if (!fvek)
    g_propagate_error (error, local ? local : locked (node, volume, *by_key));
  return fvek;
}

static void
describe (H2kNode *content, const H2kBitlocker *volume, gboolean by_key)
{
  content->uuid = g_strdup (volume->uuid);
  content->identity = h2k_bitlocker_identity (volume);
  content->type = g_strdup_printf ("BitLocker, %s%s", volume->cipher->name,
                                   by_key ? "" : ", suspended (clear key)");
  content->frozen = by_key;
  if (by_key)
    g_ptr_array_add (content->notes,
                     g_strdup_printf ("BitLocker is not suspended: Windows would ask for its "
                                      "recovery key at the first boot; %s",
                                      suspend));
}

void
stack_bitlocker_take (Builder *builder, H2kNode *node)
{
  GError *problem = NULL;
  g_autoptr (H2kBitlocker) volume = h2k_bitlocker_read (node->volume->disk, &problem);
  g_autofree char *name = g_strdup_printf ("BitLocker volume on %s", node->name);
  g_autoptr (GPtrArray) parents = g_ptr_array_new ();
  g_autoptr (GBytes) fvek = NULL;
  gboolean by_key = FALSE;
  H2kDisk *disk = NULL;

  if (volume)
    {
      g_strlcpy (node->id.uuid, volume->uuid, sizeof node->id.uuid);
      fvek = find_key (builder, node, volume, &by_key, &problem);
    }
  if (fvek)
    disk = h2k_bitlocker_disk_new (node->volume->disk, volume, fvek, name, &problem);
  if (!disk)
    {
      stack_set_problem (node, problem);
      return;
    }
  g_ptr_array_add (parents, node);
  describe (stack_add_node (builder, H2K_NODE_BITLOCKER, name, disk, parents), volume, by_key);
}
