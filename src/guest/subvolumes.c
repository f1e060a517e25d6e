/* subvolumes.c - which subvolume of a btrfs holds the system that the machine boots.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#define MAX_SUBVOLUMES 1000u
#define TOP_LEVEL_ID 5u /* subvolid=0 means it, too */

/* Snapper and Timeshift keep copies of the system below these. */
static gboolean
is_kept_copy (const H2kSubvolume *subvolume)
{
  static const char *const folders[] = {"/.snapshots/", "/timeshift-btrfs/", "/@snapshots/"};

  for (guint i = 0; i < G_N_ELEMENTS (folders); i++)
    if (strstr (subvolume->path, folders[i]))
      return TRUE;
  return subvolume->is_readonly;
}

char *
h2k_subvolume_named (const H2kFstabEntry *entry, GPtrArray *subvolumes)
{
  g_auto (GStrv) options = g_strsplit (entry->options, ",", -1);

  for (guint i = 0; options[i]; i++)
    {
      guint64 id;

      if (g_str_has_prefix (options[i], "subvol="))
        return g_canonicalize_filename (options[i] + strlen ("subvol="), "/");
      if (!g_str_has_prefix (options[i], "subvolid=")
          || !g_ascii_string_to_unsigned (options[i] + strlen ("subvolid="), 10, 0, G_MAXUINT64,
                                          &id, NULL))
        continue;
      for (guint k = 0; k < subvolumes->len; k++)
        if (((H2kSubvolume *)subvolumes->pdata[k])->id == (id ? id : TOP_LEVEL_ID))
          return g_strdup (((H2kSubvolume *)subvolumes->pdata[k])->path);
    }
  return NULL;
}

const char *
h2k_subvolume_default (GPtrArray *subvolumes)
{
  for (guint i = 0; i < subvolumes->len; i++)
    if (((H2kSubvolume *)subvolumes->pdata[i])->is_default)
      return ((H2kSubvolume *)subvolumes->pdata[i])->path;
  return "/";
}

/* Whether the fstab of the system in TREE, which is on the subvolume PATH, says that it is. */
static gboolean
says_so (H2kTree *tree, const char *path, GPtrArray *subvolumes)
{
  g_autoptr (GPtrArray) entries = h2k_guest_read_fstab (tree, NULL, NULL);

  for (guint i = 0; entries && i < entries->len; i++)
    {
      const H2kFstabEntry *entry = entries->pdata[i];
      g_autofree char *named
          = strcmp (entry->path, "/") == 0 ? h2k_subvolume_named (entry, subvolumes) : NULL;

      if (strcmp (entry->path, "/") == 0)
        return strcmp (named ? named : h2k_subvolume_default (subvolumes), path) == 0;
    }
  return FALSE;
}

/* How likely it is that the machine boots the system of a subvolume. */
enum
{
  RANK_NONE,    /* there is no system */
  RANK_COPY,    /* it is a snapshot that something keeps */
  RANK_SYSTEM,  /* there is one */
  RANK_DEFAULT, /* and a mount shows it that does not say which subvolume */
  RANK_SAID,    /* and its own fstab mounts this subvolume */
};

static guint
rank_of (H2kGuest *guest, H2kGuestVolume *volume, const H2kSubvolume *subvolume, GPtrArray *all,
         GError **why)
{
  g_autoptr (H2kTree) tree = NULL;

  g_free (volume->subvolume);
  volume->subvolume = g_strdup (subvolume->path);
  tree = h2k_guest_lone_tree (guest, volume);
  if (!h2k_guest_is_system (tree, *why ? NULL : why))
    return RANK_NONE;
  if (subvolume->is_default && strcmp (subvolume->path, "/") != 0)
    return RANK_SAID + 1; /* SUSE boots what a rollback made the default one */
  if (is_kept_copy (subvolume))
    return RANK_COPY;
  if (says_so (tree, subvolume->path, all))
    return RANK_SAID;
  return subvolume->is_default ? RANK_DEFAULT : RANK_SYSTEM;
}

void
h2k_guest_choose_subvolume (H2kGuest *guest, H2kGuestVolume *volume, GError **why)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (GPtrArray) all = volume->fs->ops->subvolumes (volume->fs, &local);
  const H2kSubvolume *best = NULL;
  guint best_rank = RANK_NONE;

  if (!all)
    {
      h2k_guest_warn (guest, "%s: its subvolumes cannot be read: %s", volume->node->name,
                      local->message);
      g_propagate_error (why, g_steal_pointer (&local));
      return;
    }
  if (strcmp (volume->id.type, "btrfs") != 0) /* the appliance tells of one on everything */
    return;
  for (guint i = 0; i < MIN (all->len, MAX_SUBVOLUMES); i++)
    {
      guint rank = rank_of (guest, volume, all->pdata[i], all, why);

      if (rank == best_rank && rank > RANK_COPY)
        h2k_guest_warn (guest, "%s: the subvolumes %s and %s hold systems; the first one is taken",
                        volume->node->name, best->path, ((H2kSubvolume *)all->pdata[i])->path);
      if (rank > best_rank)
        {
          best = all->pdata[i];
          best_rank = rank;
        }
    }
  g_free (volume->subvolume);
  volume->subvolume = g_strdup (best ? best->path : h2k_subvolume_default (all));
}
