/* systems.c - which of the installed systems on a VM's disks is the one that it boots.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

/* No machine has more of them; volumes that share their blocks can show one as often as they like.
 */
#define MAX_SYSTEMS 64u
#define MAX_LISTED 16u

static GPtrArray *
find_systems (H2kGuest *guest)
{
  GPtrArray *systems = g_ptr_array_new ();

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autoptr (H2kTree) tree = NULL;

      if (!volume->fs)
        continue;
      if (volume->fs->ops->subvolumes)
        h2k_guest_choose_subvolume (guest, volume);
      tree = h2k_guest_lone_tree (guest, volume);
      if (h2k_guest_is_system (tree))
        g_ptr_array_add (systems, volume);
    }
  return systems;
}

/* Those of SYSTEMS whose fstab says that they are copies (their root is another of them), and those
 * that the fstab of another one mounts somewhere below its own root. Names that depend on the order
 * of disks prove nothing here. */
static GHashTable *
find_secondary (H2kGuest *guest, GPtrArray *systems)
{
  GHashTable *secondary = g_hash_table_new (NULL, NULL);

  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *reader = g_ptr_array_index (systems, i);
      g_autoptr (H2kTree) tree = h2k_guest_lone_tree (guest, reader);
      g_autoptr (GPtrArray) entries = h2k_guest_read_fstab (tree, NULL, NULL);

      for (guint k = 0; k < entries->len; k++)
        {
          const H2kFstabEntry *entry = g_ptr_array_index (entries, k);
          gboolean is_root = strcmp (entry->path, "/") == 0, stable;
          H2kGuestVolume *named = h2k_guest_find_volume (guest, entry->spec, &stable);

          if (!named || !stable || named == reader)
            continue;
          if (!is_root)
            g_hash_table_add (secondary, named);
          else if (g_ptr_array_find (systems, named, NULL))
            g_hash_table_add (secondary, reader);
        }
    }
  return secondary;
}

/* Whether the fstab of CANDIDATE says that it is itself the root, by a name that tells it from what
 * it is a snapshot of. */
static gboolean
names_itself (H2kGuest *guest, H2kGuestVolume *candidate)
{
  g_autoptr (H2kTree) tree = h2k_guest_lone_tree (guest, candidate);
  g_autoptr (GPtrArray) entries = h2k_guest_read_fstab (tree, NULL, NULL);

  for (guint i = 0; entries && i < entries->len; i++)
    {
      const H2kFstabEntry *entry = entries->pdata[i];
      gboolean stable;

      if (strcmp (entry->path, "/") == 0)
        return h2k_guest_find_volume (guest, entry->spec, &stable) == candidate && stable;
    }
  return FALSE;
}

/* The one of SYSTEMS that CANDIDATE is a snapshot of, kept beside it; NULL: none. */
static H2kGuestVolume *
origin_of (H2kGuest *guest, GPtrArray *systems, H2kGuestVolume *candidate)
{
  if (!candidate->node->origin || names_itself (guest, candidate))
    return NULL;
  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *other = g_ptr_array_index (systems, i);
      if (h2k_node_is_snapshot_of (candidate->node, other->node))
        return other;
    }
  return NULL;
}

/* Take from SYSTEMS the snapshots of others. */
static void
leave_out_snapshots (H2kGuest *guest, GPtrArray *systems)
{
  g_autoptr (GPtrArray) snapshots = g_ptr_array_new ();

  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (systems, i);
      const H2kGuestVolume *origin = origin_of (guest, systems, volume);

      if (!origin)
        continue;
      g_ptr_array_add (snapshots, volume);
      h2k_guest_warn (guest, "%s is a snapshot of %s and no other system: it is left as it is",
                      volume->node->name, origin->node->name);
    }
  for (guint i = 0; i < snapshots->len; i++)
    g_ptr_array_remove (systems, snapshots->pdata[i]);
}

static char *
list_systems (H2kGuest *guest, GPtrArray *systems)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < MIN (systems->len, MAX_LISTED); i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (systems, i);
      g_autofree char *place = h2k_guest_volume_name (volume);
      g_autoptr (H2kTree) tree = h2k_guest_lone_tree (guest, volume);
      g_autofree char *name = h2k_guest_pretty_name (tree);

      g_string_append_printf (text, "%s%s (%s)", i ? ", " : "", name, place);
    }
  if (systems->len > MAX_LISTED)
    g_string_append_printf (text, " and %u more", systems->len - MAX_LISTED);
  return g_string_free (text, FALSE);
}

/* Types that can hold a system, but that no driver here reads. */
static gboolean
may_hold_system (const H2kFsId *id)
{
  static const char *const types[]
      = {"xfs",      "btrfs",      "LVM2_member", "crypto_LUKS", "ntfs",      "jfs",
         "reiserfs", "zfs_member", "f2fs",        "VMFS",        "BitLocker", "linux_raid_member",
         NULL};

  return g_strv_contains (types, id->type);
}

const GError *
h2k_guest_list_problems (const H2kGuest *guest, GString *text)
{
  const GError *first = NULL;

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kNode *node = ((const H2kGuestVolume *)guest->volumes->pdata[i])->node;

      if (!node->problem)
        continue;
      if (!first)
        first = node->problem;
      g_string_append_printf (text, "%s%s: %s", text->len ? "; " : "", node->name,
                              node->problem->message);
    }
  return first;
}

static void
set_no_system (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GString) problems = g_string_new (NULL);
  const GError *problem = h2k_guest_list_problems (guest, problems);
  g_autoptr (GString) unread = g_string_new (NULL);
  const GError *broken = NULL;

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autofree char *place = h2k_guest_volume_name (volume);
      const GError *why = g_ptr_array_index (errors, i);

      if (why && !broken && g_error_matches (why, H2K_ERROR, H2K_ERROR_FILESYSTEM))
        broken = why;
      if (!volume->fs && !volume->node->is_member && may_hold_system (&volume->id))
        g_string_append_printf (unread, "%s%s (%s)", unread->len ? ", " : "", volume->id.type,
                                place);
    }
  if (problem)
    g_set_error (error, H2K_ERROR, problem->code,
                 "no operating system was found where one can be looked for; %s", problems->str);
  else if (broken)
    {
      g_propagate_error (error, g_error_copy (broken));
      g_prefix_error (error, "no operating system could be found: ");
    }
  else if (unread->len)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "no operating system was found where one can be looked for; "
                 "the disks also hold what cannot be read: %s. Such a guest can be copied "
                 "without repairs with --no-guest-inspection",
                 unread->str);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
                 "no operating system was found on %u disk(s) with %u volume(s). Give every disk "
                 "of the VM, or copy them as they are with --no-guest-inspection",
                 guest->disks->len, guest->volumes->len);
}

gboolean
h2k_guest_choose_root (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GPtrArray) systems = find_systems (guest);
  g_autoptr (GPtrArray) first = g_ptr_array_new ();
  g_autoptr (GHashTable) secondary = NULL;
  g_autofree char *list = NULL;

  if (systems->len == 0)
    {
      set_no_system (guest, errors, error);
      return FALSE;
    }
  leave_out_snapshots (guest, systems);
  if (systems->len > 1 && systems->len <= MAX_SYSTEMS)
    secondary = find_secondary (guest, systems);
  for (guint i = 0; secondary && i < systems->len; i++)
    if (!g_hash_table_contains (secondary, systems->pdata[i]))
      g_ptr_array_add (first, systems->pdata[i]);
  if (systems->len == 1 || first->len == 1)
    {
      guest->root = g_ptr_array_index (first->len == 1 ? first : systems, 0);
      return TRUE;
    }
  list = list_systems (guest, systems);
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
               "%u operating systems were found, and nothing says which one is meant: %s. Give "
               "only the disks of one VM",
               systems->len, list);
  return FALSE;
}
