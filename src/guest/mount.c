/* mount.c - mounts the system as its own fstab says, and learns the names that it gives volumes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#define MAX_FSTAB (1024 * 1024)
#define MAX_ENTRIES 1024

static guint
depth (const char *path)
{
  guint n = 0;

  for (; *path; path++)
    n += path[0] == '/' && path[1] && path[1] != '/';
  return n;
}

static int
compare_depth (gconstpointer a, gconstpointer b)
{
  const H2kFstabEntry *x = *(H2kFstabEntry *const *)a, *y = *(H2kFstabEntry *const *)b;
  guint dx = depth (x->path), dy = depth (y->path);

  return dx < dy ? -1 : dx > dy;
}

GPtrArray *
h2k_guest_read_fstab (H2kTree *tree, GPtrArray *remote, GError **error)
{
  GPtrArray *entries = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_fstab_entry_free);
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, "/etc/fstab", MAX_FSTAB, error);
  g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;

  for (guint i = 0; lines && i < h2k_lines_count (lines) && entries->len < MAX_ENTRIES; i++)
    {
      H2kFstabEntry *entry = h2k_fstab_parse (h2k_lines_get (lines, i));

      if (entry && (h2k_fstab_is_device (entry) || h2k_fstab_is_bind (entry)))
        g_ptr_array_add (entries, entry);
      else if (entry && remote && remote->len < MAX_ENTRIES && h2k_fstab_is_remote (entry))
        g_ptr_array_add (remote, entry);
      else
        h2k_fstab_entry_free (entry);
    }
  g_ptr_array_sort (entries, compare_depth);
  return entries;
}

/* What PATH of the volume's filesystem shows, as a filesystem. */
static H2kFs *
part_of (H2kGuest *guest, H2kGuestVolume *volume, const char *path)
{
  H2kFs *part;

  if (!path || strcmp (path, "/") == 0)
    return volume->fs;
  part = h2k_fs_subtree_new (volume->fs, path);
  g_ptr_array_add (guest->subtrees, part);
  return part;
}

H2kTree *
h2k_guest_lone_tree (H2kGuest *guest, H2kGuestVolume *volume)
{
  H2kTree *tree = h2k_tree_new ();

  h2k_tree_mount (tree, "/", part_of (guest, volume, volume->subvolume));
  return tree;
}

/* Without these the repairs would see half a system. */
static gboolean
is_needed (const H2kFstabEntry *entry)
{
  g_autofree char *path = g_canonicalize_filename (entry->path, "/");

  return strcmp (path, "/boot") == 0 || strcmp (path, "/usr") == 0;
}

/* Why a volume that fstab names may be missing: what it may lie on cannot be read. */
static char *
why_missing (const H2kGuest *guest)
{
  g_autoptr (GString) text = g_string_new (NULL);

  return h2k_guest_list_problems (guest, text) ? g_strconcat (" (", text->str, ")", NULL)
                                               : g_strdup ("");
}

static gboolean
mount_failed (H2kGuest *guest, const H2kFstabEntry *entry, const H2kGuestVolume *volume,
              const GError *why, GError **error)
{
  g_autofree char *place = volume ? h2k_guest_volume_name (volume) : NULL;
  g_autofree char *text = NULL;
  g_autofree char *safe = NULL;
  g_autofree char *missing = why_missing (guest);

  if (!volume)
    text = g_strdup_printf ("/etc/fstab mounts %s from %s, which is on none of the %u disk(s)%s",
                            entry->path, entry->spec, guest->disks->len, missing);
  else
    text = g_strdup_printf ("/etc/fstab mounts %s from %s (%s), which was not opened: %s",
                            entry->path, entry->spec, place,
                            why ? why->message : "it holds no known filesystem");
  safe = h2k_escape_text (text, -1);
  if (!is_needed (entry))
    {
      h2k_guest_warn (guest, "%s", safe);
      return TRUE;
    }
  g_set_error (error, H2K_ERROR, why ? why->code : (int)H2K_ERROR_UNSUPPORTED,
               "%s. The guest's kernels or programs lie there: give every disk of the VM", safe);
  return FALSE;
}

/* EFI system partitions are FAT: whether that matters is known only after the bootloader is. */
static gboolean
is_esp (const H2kGuestVolume *volume)
{
  return strcmp (volume->id.type, "vfat") == 0
         || strcmp (h2k_volume_role (volume->volume), "esp") == 0;
}

/* What fstab says the root is called; a device name that the order of disks changed is no worry,
 * h2k_guest_find_volume() takes it as said. */
static void
note_root (H2kGuest *guest, const H2kFstabEntry *entry)
{
  gboolean stable;
  H2kGuestVolume *volume = h2k_guest_find_volume (guest, entry->spec, &stable);

  g_free (guest->root->spec);
  guest->root->spec = g_strdup (entry->spec);
  if (stable && volume != guest->root)
    h2k_guest_warn (guest, "/etc/fstab names %s as the root, which is %s", entry->spec,
                    volume ? "another volume" : "on none of the disks");
}

/* What a mount of VOLUME by ENTRY shows: on btrfs a subvolume. */
static gboolean
mount_volume (H2kGuest *guest, const H2kFstabEntry *entry, H2kGuestVolume *volume, GError **error)
{
  g_autoptr (GPtrArray) subvolumes = NULL;
  g_autofree char *named = NULL;
  g_autoptr (GError) why = NULL;
  H2kFs *fs = volume->fs;
  H2kStat st;

  if (fs->ops->subvolumes)
    {
      subvolumes = fs->ops->subvolumes (fs, error);
      if (!subvolumes)
        return FALSE;
      named = h2k_subvolume_named (entry, subvolumes);
      fs = part_of (guest, volume, named ? named : h2k_subvolume_default (subvolumes));
    }
  if (fs->ops->lstat (fs, "/", &st, &why))
    {
      h2k_tree_mount (guest->tree, entry->path, fs);
      return TRUE;
    }
  if (!g_error_matches (why, H2K_ERROR, H2K_ERROR_FAILED)
      && !g_error_matches (why, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      g_propagate_error (error, g_steal_pointer (&why));
      return FALSE;
    }
  if (named && g_error_matches (why, H2K_ERROR, H2K_ERROR_FAILED))
    {
      g_clear_error (&why);
      why = g_error_new (H2K_ERROR, H2K_ERROR_FILESYSTEM, "there is no subvolume %s", named);
    }
  return mount_failed (guest, entry, volume, why, error);
}

/* "/srv/data /mnt none bind": a folder at another place. */
static void
mount_bind (H2kGuest *guest, const H2kFstabEntry *entry)
{
  g_autoptr (GError) local = NULL;
  H2kFs *part = h2k_tree_subtree (guest->tree, entry->spec, &local);

  if (!part)
    {
      h2k_guest_warn (guest, "/etc/fstab binds %s to %s, which was not done: %s", entry->spec,
                      entry->path, local->message);
      return;
    }
  g_ptr_array_add (guest->subtrees, part);
  h2k_tree_mount (guest->tree, entry->path, part);
}

static gboolean
mount_entry (H2kGuest *guest, const H2kFstabEntry *entry, GPtrArray *errors, GError **error)
{
  gboolean bind = h2k_fstab_is_bind (entry);
  H2kGuestVolume *volume = bind ? NULL : h2k_guest_find_volume (guest, entry->spec, NULL);
  gboolean swap = strcmp (entry->type, "swap") == 0;
  gboolean is_root = strcmp (entry->path, "/") == 0;
  guint index;

  if (volume && !volume->spec && !is_root)
    volume->spec = g_strdup (entry->spec);
  if (swap || *entry->path != '/')
    return TRUE;
  if (bind)
    {
      mount_bind (guest, entry);
      return TRUE;
    }
  if (is_root)
    {
      note_root (guest, entry);
      return TRUE;
    }
  if (!volume)
    return h2k_fstab_has_option (entry, "noauto") || g_str_has_prefix (entry->spec, "/dev/sr")
                   || g_str_has_prefix (entry->spec, "/dev/cd")
                   || g_str_has_prefix (entry->spec, "/dev/fd")
               ? TRUE
               : mount_failed (guest, entry, NULL, NULL, error);
  if (!volume->mountpoint)
    volume->mountpoint = g_strdup (entry->path);
  if (volume->fs)
    return mount_volume (guest, entry, volume, error);
  if (is_esp (volume))
    return TRUE;
  return g_ptr_array_find (guest->volumes, volume, &index)
         && mount_failed (guest, entry, volume, g_ptr_array_index (errors, index), error);
}

/* --- names that the guest gives --------------------------------------------------------------- */

static char *
line_field (const char *line, guint n)
{
  gsize start, length;

  return h2k_fstab_field (line, n, &start, &length) ? g_strndup (line + start, length) : NULL;
}

/* crypttab(5): the container in the second field is opened under the name in the first. */
static void
name_container (H2kGuest *guest, const char *line)
{
  g_autofree char *name = line_field (line, 0), *spec = line_field (line, 1);
  g_autofree char *path = g_strconcat ("/dev/mapper/", name, NULL);
  H2kGuestVolume *volume = spec ? h2k_guest_find_volume (guest, spec, NULL) : NULL;

  for (guint i = 0; volume && i < guest->stack->nodes->len; i++)
    {
      const H2kNode *node = guest->stack->nodes->pdata[i];
      if (node->kind == H2K_NODE_LUKS && g_ptr_array_find (node->parents, volume->node, NULL))
        h2k_node_prefer_name (node, path);
    }
}

/* mdadm.conf(5): "ARRAY /dev/md0 metadata=1.2 UUID=...". */
static void
name_array (H2kGuest *guest, const char *line)
{
  g_auto (GStrv) words = g_strsplit_set (line, " \t", -1);
  const char *device = words[0] ? words[1] : NULL;

  if (!device || g_ascii_strcasecmp (words[0], "ARRAY") != 0 || !g_str_has_prefix (device, "/dev/"))
    return;
  for (guint w = 2; words[w]; w++)
    for (guint i = 0; i < guest->stack->nodes->len; i++)
      {
        const H2kNode *node = guest->stack->nodes->pdata[i];
        if (node->kind == H2K_NODE_MD && g_ascii_strncasecmp (words[w], "UUID=", 5) == 0
            && g_ascii_strcasecmp (words[w] + 5, node->uuid) == 0)
          h2k_node_prefer_name (node, device);
      }
}

static const struct
{
  const char *path;
  void (*name) (H2kGuest *guest, const char *line);
} name_files[] = {
    {"/etc/mdadm.conf", name_array},
    {"/etc/mdadm/mdadm.conf", name_array},
    {"/etc/crypttab", name_container},
};

/* A file that cannot be read names nothing; fstab then says what is missing. */
static void
read_names (H2kGuest *guest)
{
  for (guint f = 0; f < G_N_ELEMENTS (name_files); f++)
    {
      g_autoptr (GError) local = NULL;
      g_autoptr (GBytes) data
          = h2k_tree_read_optional (guest->tree, name_files[f].path, MAX_FSTAB, &local);
      g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;

      if (local)
        h2k_guest_warn (guest, "%s", local->message);
      for (guint i = 0; lines && i < MIN (h2k_lines_count (lines), MAX_ENTRIES); i++)
        name_files[f].name (guest, h2k_lines_get (lines, i));
    }
}

/* --- all ---------------------------------------------------------------------------------------
 */

gboolean
h2k_guest_mount_all (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GPtrArray) entries = NULL;
  g_autoptr (GError) local = NULL;

  h2k_tree_mount (guest->tree, "/", part_of (guest, guest->root, guest->root->subvolume));
  guest->root->mountpoint = g_strdup ("/");
  if (h2k_guest_is_windows (guest->root))
    return TRUE;
  read_names (guest);
  entries = h2k_guest_read_fstab (guest->tree, guest->remote, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; i < entries->len; i++)
    if (!mount_entry (guest, g_ptr_array_index (entries, i), errors, error))
      return FALSE;
  return TRUE;
}
