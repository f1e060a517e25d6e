/* used.c - what of a guest's disks is in use, by all that is known of its volumes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#include "fs/usage.h"

/* Containers of this UUID that there are, opened or not. */
static guint
count_containers (const H2kStack *stack, const char *uuid)
{
  guint n = 0;

  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      n += (strcmp (node->id.type, "crypto_LUKS") == 0 || strcmp (node->id.type, "BitLocker") == 0)
           && g_ascii_strcasecmp (node->id.uuid, uuid) == 0;
    }
  return n;
}

/* With a copy of a container nobody knows which one is meant. (A group with a copy of one of its
 * physical volumes is not put together.) */
static gboolean
is_unique (const H2kStack *stack, const H2kNode *node)
{
  return node->kind == H2K_NODE_LV
         || ((node->kind == H2K_NODE_LUKS || node->kind == H2K_NODE_BITLOCKER)
             && count_containers (stack, node->uuid) == 1);
}

static void
unref_disk (gpointer data)
{
  h2k_disk_unref (data);
}

static GHashTable *
find_known (const H2kStack *stack)
{
  GHashTable *known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, unref_disk);

  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      if (node->identity && node->volume->disk && is_unique (stack, node))
        g_hash_table_insert (known, g_strdup (node->identity), h2k_disk_ref (node->volume->disk));
    }
  return known;
}

H2kDisk *
h2k_guest_used_view (H2kGuest *guest, guint number, gboolean drop_swap, GPtrArray *notes,
                     GError **error)
{
  g_autoptr (GHashTable) known = find_known (guest->stack);

  return h2k_used_view_known (guest->disks, number, known, drop_swap, notes, error);
}
