/* systems.c - which of the installed systems on a VM's disks is the one that it boots.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/signs.h"
#include "guest/private.h"

/* No machine has more of them; volumes that share their blocks can show one as often as they like.
 */
#define MAX_SYSTEMS 64u
#define MAX_LISTED 16u
/* A volume that has nothing in its first bytes is blank. */
#define UNKNOWN_LENGTH 131072u

/* ERRORS gets why a volume could not be looked at, though it was opened. */
static GPtrArray *
find_systems (H2kGuest *guest, GPtrArray *errors)
{
  GPtrArray *systems = g_ptr_array_new ();

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      GError **why = (GError **)&errors->pdata[i];
      g_autoptr (H2kTree) tree = NULL;

      if (!volume->fs)
        continue;
      if (volume->fs->ops->subvolumes)
        h2k_guest_choose_subvolume (guest, volume, why);
      tree = h2k_guest_lone_tree (guest, volume);
      if (h2k_guest_is_windows (volume) || h2k_guest_is_system (tree, *why ? NULL : why))
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
      g_autofree char *name
          = h2k_guest_is_windows (volume) ? g_strdup ("a Windows") : h2k_guest_pretty_name (tree);

      g_string_append_printf (text, "%s%s (%s)", i ? ", " : "", name, place);
    }
  if (systems->len > MAX_LISTED)
    g_string_append_printf (text, " and %u more", systems->len - MAX_LISTED);
  return g_string_free (text, FALSE);
}

/* --- none was found ----------------------------------------------------------------------------
 */

/* What the kinds of errors are worth to somebody who looks for the system: the least first. */
static guint
weight_of (const GError *why)
{
  static const int codes[] = {H2K_ERROR_UNSUPPORTED, H2K_ERROR_TOOL, H2K_ERROR_FILESYSTEM,
                              H2K_ERROR_SOURCE, H2K_ERROR_CANCELLED};

  for (guint i = 0; i < G_N_ELEMENTS (codes); i++)
    if (why->code == codes[i])
      return i;
  return 1;
}

/* Reasons why there may be a system all the same, each of them once. */
typedef struct
{
  GString *text;
  GHashTable *said;
  const GError *worst;
} Reasons;

static void
add_reason (Reasons *reasons, const char *name, const GError *why)
{
  gboolean named = g_str_has_prefix (why->message, name);

  if (!reasons->worst || weight_of (why) > weight_of (reasons->worst))
    reasons->worst = why;
  if (g_hash_table_add (reasons->said, why->message))
    g_string_append_printf (reasons->text, "%s%s%s%s", reasons->text->len ? "; " : "",
                            named ? "" : name, named ? "" : ": ", why->message);
}

/* Pools cannot be read, but what lies in them can, and is a volume of its own. */
static gboolean
is_pool (const H2kNode *node)
{
  return node->kind == H2K_NODE_LV && node->type && g_str_has_suffix (node->type, "-pool");
}

static void
add_problems (Reasons *reasons, const H2kGuest *guest)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kNode *node = ((const H2kGuestVolume *)guest->volumes->pdata[i])->node;

      if (node->problem && !is_pool (node))
        add_reason (reasons, node->name, node->problem);
    }
}

const GError *
h2k_guest_list_problems (const H2kGuest *guest, GString *text)
{
  g_autoptr (GHashTable) said = g_hash_table_new (g_str_hash, g_str_equal);
  Reasons reasons = {text, said, NULL};

  add_problems (&reasons, guest);
  return reasons.worst;
}

/* What there is on VOLUME, of which no driver knows anything: by its signature, or because it is
 * not blank. Static; NULL: nothing. */
static const char *
unknown_content (const H2kGuestVolume *volume)
{
  static const char *const empty_roles[] = {"extended", "bios-boot", NULL};
  H2kDisk *disk = volume->volume->disk;
  g_autofree guint8 *start = NULL;
  const char *type = NULL;
  gsize length;

  if (!disk || g_strv_contains (empty_roles, h2k_volume_role (volume->volume)))
    return NULL;
  if (!h2k_fs_other_sign (disk, "", &type, NULL) || type)
    return type;
  length = (gsize)MIN (disk->size, UNKNOWN_LENGTH);
  start = g_malloc (length + 1);
  if (!h2k_disk_pread (disk, 0, length, start, NULL) || h2k_is_zero (start, length))
    return NULL;
  return "unknown content";
}

/* Volumes of Windows that cannot be read, and what to do about it. */
static const struct
{
  const char *role;
  const char *why;
} locked[] = {
    {"ldm",
     "it belongs to a dynamic disk (LDM), whose volumes cannot be read: convert it to a basic disk "
     "before the export"},
    {"storage-spaces",
     "it belongs to a pool of Storage Spaces, whose volumes cannot be read: Windows cannot be "
     "started from one either"},
};

/* Why what is on VOLUME is known, but cannot be read. Static; NULL: it is not one of those. */
static const char *
why_locked (const H2kGuestVolume *volume)
{
  for (guint i = 0; i < G_N_ELEMENTS (locked); i++)
    if (!volume->fs && strcmp (locked[i].role, h2k_volume_role (volume->volume)) == 0)
      return locked[i].why;
  return NULL;
}

/* Why VOLUME, which has no problem of its own, was not looked at, or not all of it; NULL: it was,
 * or it can hold no system. ERROR is what came of the attempt. The caller's. */
static GError *
why_unread (const H2kGuestVolume *volume, const GError *error)
{
  static const char *const others[] = {"swap", "swsuspend", "iso9660", "jbd", NULL};
  const char *type = *volume->id.type ? volume->id.type : unknown_content (volume);
  gboolean unsupported = g_error_matches (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);

  if (why_locked (volume))
    return g_error_new (H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: %s", volume->node->name,
                        why_locked (volume));
  if (volume->node->is_member || !type || g_strv_contains (others, type))
    return NULL;
  if (error && !(unsupported && volume->id.type[0] == '\0'))
    return g_error_new (H2K_ERROR, error->code, "%s (%s): %s", volume->node->name, type,
                        error->message);
  return volume->fs ? NULL
                    : g_error_new (H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                                   "%s (%s): files on it cannot be read", volume->node->name, type);
}

static void
error_free (gpointer data)
{
  g_error_free (data);
}

static void
set_no_system (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GHashTable) said = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GPtrArray) unread = g_ptr_array_new_with_free_func (error_free);
  Reasons reasons = {text, said, NULL};

  add_problems (&reasons, guest);
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      GError *why = volume->node->problem ? NULL : why_unread (volume, errors->pdata[i]);

      if (!why)
        continue;
      g_ptr_array_add (unread, why);
      add_reason (&reasons, volume->node->name, why);
    }
  if (!reasons.worst)
    g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
                 "no operating system was found on %u disk(s) with %u volume(s). Give every disk "
                 "of the VM",
                 guest->disks->len, guest->volumes->len);
  else
    g_set_error (error, H2K_ERROR, reasons.worst->code,
                 "no operating system was found where one can be looked for; what cannot be read: "
                 "%s",
                 text->str);
}

/* A system was found, but there may be another one. */
static void
warn_of_unread (H2kGuest *guest, GPtrArray *errors)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      const GError *why = errors->pdata[i];

      if (volume->fs && why)
        h2k_guest_warn (guest, "%s (%s) may hold a system, but cannot be looked at: %s",
                        volume->node->name, volume->id.type, why->message);
    }
}

gboolean
h2k_guest_choose_root (H2kGuest *guest, gboolean any, GPtrArray *errors, GError **error)
{
  g_autoptr (GPtrArray) systems = find_systems (guest, errors);
  g_autoptr (GPtrArray) first = g_ptr_array_new ();
  g_autoptr (GHashTable) secondary = NULL;
  g_autofree char *list = NULL;

  if (systems->len == 0)
    {
      set_no_system (guest, errors, error);
      return FALSE;
    }
  warn_of_unread (guest, errors);
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
  if (any)
    {
      h2k_guest_warn (guest,
                      "%u operating systems were found, and nothing says which one is meant: "
                      "%s. This is the first one",
                      systems->len, list);
      guest->root = g_ptr_array_index (first->len ? first : systems, 0);
      return TRUE;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
               "%u operating systems were found, and nothing says which one is meant: %s. Give "
               "only the disks of one VM",
               systems->len, list);
  return FALSE;
}
