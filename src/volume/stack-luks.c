/* stack-luks.c - LUKS containers opened with the keys that were given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"
#include "volume/stack-private.h"

/* What the user has to do: the key is missing, or it is a wrong one. */
static GError *
locked (const H2kNode *node, const H2kLuksHeader *header, gboolean tried)
{
  return g_error_new (H2K_ERROR, H2K_ERROR_SOURCE,
                      "%s is a LUKS%u container (UUID %s), %s: give %s with "
                      "--key UUID=%s:file:FILE or --key UUID=%s:env:VARIABLE",
                      node->name, header->version, header->uuid,
                      tried ? "and no key that was given opens it" : "which is locked",
                      tried ? "the right one" : "its key", header->uuid, header->uuid);
}

/* The names that it gets without a crypttab: systemd's, dracut's and udev's. */
static void
name_content (H2kNode *node, const H2kLuksHeader *header)
{
  g_auto (GStrv) words = g_strsplit (header->uuid, "-", -1);
  g_autofree char *uuid = g_strjoinv ("", words);

  node->uuid = g_strdup (header->uuid);
  node->identity = h2k_luks_identity (header);
  node->type = g_strdup_printf ("LUKS%u", header->version);
  stack_add_name (node, "/dev/mapper/luks-%s", header->uuid);
  stack_add_name (node, "/dev/disk/by-id/dm-name-luks-%s", header->uuid);
  stack_add_name (node, "/dev/disk/by-id/dm-uuid-CRYPT-LUKS%u-%s-luks-%s", header->version, uuid,
                  header->uuid);
}

static H2kDisk *
open_container (Builder *builder, const H2kNode *node, const H2kLuksHeader *header,
                const char *name, GError **error)
{
  g_autoptr (GPtrArray) secrets = h2k_keys_find (builder->keys, node->names, header->uuid, error);
  g_autoptr (GError) failure = NULL;
  g_autoptr (GBytes) key = NULL;

  if (!secrets)
    return NULL;
  if (secrets->len > 0)
    key = h2k_luks_unlock (node->volume->disk, header, secrets, &builder->unlock_time, &failure);
  if (key)
    return h2k_luks_disk_new (node->volume->disk, header, key, name, error);
  g_propagate_error (error, failure ? g_steal_pointer (&failure)
                                    : locked (node, header, secrets->len > 0));
  return NULL;
}

void
stack_luks_take (Builder *builder, H2kNode *node)
{
  GError *problem = NULL;
  g_autoptr (H2kLuksHeader) header = h2k_luks_header_read (node->volume->disk, &problem);
  g_autofree char *name = g_strdup_printf ("LUKS container on %s", node->name);
  g_autoptr (GPtrArray) parents = g_ptr_array_new ();
  H2kDisk *disk = header ? open_container (builder, node, header, name, &problem) : NULL;

  if (!disk)
    {
      stack_set_problem (node, problem);
      return;
    }
  g_ptr_array_add (parents, node);
  name_content (stack_add_node (builder, H2K_NODE_LUKS, name, disk, parents), header);
}

/* --- keys that are for nothing -----------------------------------------------------------------
 */

static gboolean
is_container (const H2kNode *node)
{
  return strcmp (node->id.type, "crypto_LUKS") == 0 || strcmp (node->id.type, "BitLocker") == 0;
}

static gboolean
is_for_any (const Builder *builder, guint key)
{
  for (guint i = 0; i < builder->stack->nodes->len; i++)
    {
      const H2kNode *node = builder->stack->nodes->pdata[i];

      if (is_container (node) && h2k_keys_is_for (builder->keys, key, node->names, node->id.uuid))
        return TRUE;
    }
  return FALSE;
}

/* The names for which a key was given, but which nothing has: "/dev/sda2, UUID=1". */
static char *
list_strangers (const Builder *builder)
{
  g_autoptr (GString) list = g_string_new (NULL);

  for (guint i = 0; i < h2k_keys_count (builder->keys); i++)
    {
      const char *device = h2k_keys_device (builder->keys, i);

      if (device && !is_for_any (builder, i))
        g_string_append_printf (list, "%s%s", list->len ? ", " : "", device);
    }
  return h2k_escape_text (list->str, (gssize)list->len);
}

void
stack_luks_finish (Builder *builder)
{
  g_autofree char *strangers = list_strangers (builder);

  if (!*strangers)
    return;
  stack_warn (builder,
              "a key was given for %s, but no encrypted volume that was found is called so",
              strangers);
  for (guint i = 0; i < builder->stack->nodes->len; i++)
    {
      H2kNode *node = builder->stack->nodes->pdata[i];
      GError *old = node->problem;

      if (!is_container (node) || !g_error_matches (old, H2K_ERROR, H2K_ERROR_SOURCE))
        continue;
      node->problem = g_error_new (H2K_ERROR, old->code,
                                   "%s (a key was given for %s, but no container that "
                                   "was found is called so)",
                                   old->message, strangers);
      g_error_free (old);
    }
}
