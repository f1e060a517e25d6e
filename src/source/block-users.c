/* block-users.c - what a block device is used for, through all that is stacked on it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/block.h"

#include <sys/stat.h>

enum
{
  MOUNTS_SHOWN = 3,
  MOUNTS_KEPT = 64,
};

H2kAttachedUser *
h2k_attached_user_new (const char *device)
{
  H2kAttachedUser *user = g_new0 (H2kAttachedUser, 1);

  user->device = g_strdup (device);
  user->stack = g_ptr_array_new_with_free_func (g_free);
  user->mountpoints = g_ptr_array_new_with_free_func (g_free);
  return user;
}

void
h2k_attached_user_free (H2kAttachedUser *user)
{
  if (!user)
    return;
  g_free (user->device);
  g_free (user->text);
  g_ptr_array_unref (user->stack);
  g_ptr_array_unref (user->mountpoints);
  g_free (user);
}

/* --- what is stacked on it -------------------------------------------------------------------- */

/* The group in a name of the device mapper, where dashes inside names are doubled: "vg-0" in
 * "vg--0-root". */
static char *
volume_group (const char *dm_name)
{
  g_autoptr (GString) group = g_string_new (NULL);

  for (const char *p = dm_name; *p; p++)
    {
      if (*p == '-' && p[1] != '-')
        break;
      if (*p == '-')
        p++;
      g_string_append_c (group, *p);
    }
  return g_string_free (g_steal_pointer (&group), FALSE);
}

/* By the beginning of the UUID that the device's maker gave it. */
static const struct
{
  const char *prefix;
  H2kUse use;
  const char *label;
} dm_kinds[] = {
    {"LVM-", H2K_USE_LVM, "LVM "},
    {"CRYPT-", H2K_USE_CRYPT, "encrypted as "},
    {"mpath-", H2K_USE_MULTIPATH, "multipath "},
    {"", H2K_USE_DM, "device mapper "},
};

static H2kUse
describe_dm (const BlockNode *node, char **label)
{
  const char *uuid = node->dm_uuid ? node->dm_uuid : "";
  gsize i = 0;
  g_autofree char *name = NULL, *safe = NULL;

  while (!g_str_has_prefix (uuid, dm_kinds[i].prefix))
    i++;
  name = dm_kinds[i].use == H2K_USE_LVM ? volume_group (node->dm_name) : g_strdup (node->dm_name);
  safe = h2k_escape_text (name, -1);
  *label = g_strconcat (dm_kinds[i].label, safe, NULL);
  return dm_kinds[i].use;
}

/* What NODE, which lies on another device, is. */
static H2kUse
describe (const BlockNode *node, char **label)
{
  const BlockNode *whole = node->whole ? node->whole : node;
  g_autofree char *path = h2k_block_path (node), *safe = h2k_escape_text (node->name, -1);

  if (node->dm_name)
    return describe_dm (node, label);
  if (g_str_has_prefix (whole->name, "loop"))
    {
      *label = g_strconcat ("attached as ", path, NULL);
      return H2K_USE_LOOP;
    }
  *label = g_steal_pointer (&safe);
  return g_str_has_prefix (whole->name, "md") ? H2K_USE_MD : H2K_USE_STACKED;
}

static void
add_unique (GPtrArray *texts, const char *text)
{
  if (!g_ptr_array_find_with_equal_func (texts, text, g_str_equal, NULL))
    g_ptr_array_add (texts, g_strdup (text));
}

static void
collect (const BlockNode *node, GHashTable *seen, H2kAttachedUser *user)
{
  if (!g_hash_table_add (seen, (gpointer)node))
    return;
  for (guint i = 0; i < node->mounts->len && user->mountpoints->len < MOUNTS_KEPT; i++)
    add_unique (user->mountpoints, node->mounts->pdata[i]);
  user->uses |= (node->mounts->len ? H2K_USE_MOUNTED : 0) | (node->is_swap ? H2K_USE_SWAP : 0);
  for (guint i = 0; i < node->holders->len; i++)
    {
      const BlockNode *holder = node->holders->pdata[i];
      g_autofree char *label = NULL;
      user->uses |= describe (holder, &label);
      add_unique (user->stack, label);
      collect (holder, seen, user);
      /* Of a disk that is made of others, its partitions as well. */
      for (guint j = 0; j < holder->parts->len; j++)
        collect (holder->parts->pdata[j], seen, user);
    }
}

/* --- in words --------------------------------------------------------------------------------- */

static void
append (GString *text, const char *words)
{
  g_string_append_printf (text, "%s%s", text->len ? ", " : "", words);
}

static void
append_mounts (GString *text, const GPtrArray *mounts)
{
  append (text, "mounted on ");
  for (guint i = 0; i < MIN (mounts->len, MOUNTS_SHOWN); i++)
    g_string_append_printf (text, "%s%s",
                            i == 0                 ? ""
                            : i + 1 == mounts->len ? " and "
                                                   : ", ",
                            (const char *)mounts->pdata[i]);
  if (mounts->len > MOUNTS_SHOWN)
    g_string_append_printf (text, " and %u more", mounts->len - MOUNTS_SHOWN);
}

void
h2k_attached_user_finish (H2kAttachedUser *user)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < user->stack->len; i++)
    append (text, user->stack->pdata[i]);
  if (user->mountpoints->len)
    append_mounts (text, user->mountpoints);
  if (user->uses & H2K_USE_SWAP)
    append (text, "swap");
  if (user->uses & H2K_USE_QEMU)
    append (text, "open for writing in QEMU");
  if (user->uses & H2K_USE_EXCLUSIVE)
    append (text, "opened exclusively");
  g_free (user->text);
  user->text = g_string_free (g_steal_pointer (&text), FALSE);
}

H2kAttachedUser *
h2k_block_user (const BlockNode *node)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  g_autofree char *path = h2k_block_path (node);
  H2kAttachedUser *user = h2k_attached_user_new (path);

  collect (node, seen, user);
  if (user->uses)
    h2k_attached_user_finish (user);
  else
    g_clear_pointer (&user, h2k_attached_user_free);
  return user;
}

H2kAttachedUser *
h2k_block_file_user (const BlockHost *host, const char *path, dev_t dev, ino_t ino)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  H2kAttachedUser *user = h2k_attached_user_new (path);

  for (guint i = 0; i < host->nodes->len; i++)
    {
      const BlockNode *node = host->nodes->pdata[i];
      g_autofree char *loop = g_build_filename (node->dir, "loop", NULL), *label = NULL;
      g_autofree char *file = h2k_block_attribute (loop, "backing_file");
      g_autofree char *full = file ? g_strconcat (host->root, file, NULL) : NULL;
      struct stat st;
      if (!full || stat (full, &st) != 0 || st.st_dev != dev || st.st_ino != ino
          || h2k_block_number (node->dir, "ro", 0) != 0)
        continue;
      user->uses |= describe (node, &label);
      add_unique (user->stack, label);
      collect (node, seen, user);
      for (guint j = 0; j < node->parts->len; j++)
        collect (node->parts->pdata[j], seen, user);
    }
  if (user->uses)
    h2k_attached_user_finish (user);
  else
    g_clear_pointer (&user, h2k_attached_user_free);
  return user;
}
