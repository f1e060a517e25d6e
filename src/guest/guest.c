/* guest.c - finds the installed system on a VM's disks and mounts it as its own fstab says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"
#include "guest/fstab.h"

#define MAX_FSTAB (1024 * 1024)
#define MAX_ENTRIES 1024

/* --- volumes ---------------------------------------------------------------------------------- */

static void
volume_free (gpointer data)
{
  H2kGuestVolume *volume = data;

  h2k_fs_free (volume->fs);
  g_free (volume->mountpoint);
  g_free (volume->spec);
  g_free (volume);
}

static void
disk_unref (gpointer data)
{
  h2k_disk_unref (data);
}

static void
kernel_free (gpointer data)
{
  H2kKernel *kernel = data;

  g_free (kernel->version);
  g_free (kernel->image);
  g_free (kernel->initramfs);
  g_free (kernel->modules_dir);
  g_free (kernel);
}

void
h2k_guest_free (H2kGuest *guest)
{
  if (!guest)
    return;
  h2k_tree_free (guest->tree);
  g_ptr_array_unref (guest->volumes); /* the filesystems, before what they lie on */
  h2k_stack_free (guest->stack);
  g_ptr_array_unref (guest->disks);
  g_ptr_array_unref (guest->warnings);
  g_ptr_array_unref (guest->kernels);
  g_ptr_array_unref (guest->vmware_tools);
  g_free (guest->distro);
  g_free (guest->distro_like);
  g_free (guest->version);
  g_free (guest->pretty_name);
  g_free (guest->hostname);
  g_free (guest->machine_id);
  g_free (guest->arch);
  g_free (guest);
}

static H2kGuest *
guest_new (GPtrArray *disks)
{
  H2kGuest *guest = g_new0 (H2kGuest, 1);

  guest->tree = h2k_tree_new ();
  guest->disks = g_ptr_array_new_with_free_func (disk_unref);
  guest->volumes = g_ptr_array_new_with_free_func (volume_free);
  guest->warnings = g_ptr_array_new_with_free_func (g_free);
  guest->kernels = g_ptr_array_new_with_free_func (kernel_free);
  guest->vmware_tools = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < disks->len; i++)
    g_ptr_array_add (guest->disks, h2k_disk_ref (g_ptr_array_index (disks, i)));
  return guest;
}

void
h2k_guest_warn (H2kGuest *guest, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_ptr_array_add (guest->warnings, h2k_escape_text (text, -1));
}

char *
h2k_guest_volume_name (const H2kGuestVolume *volume)
{
  return g_strdup (volume->node->name);
}

static gboolean
add_volumes (H2kGuest *guest, const H2kKeys *keys, GError **error)
{
  guest->stack = h2k_stack_new (guest->disks, keys, error);
  if (!guest->stack)
    return FALSE;
  guest->tables = guest->stack->tables;
  for (guint i = 0; i < guest->stack->warnings->len; i++)
    h2k_guest_warn (guest, "%s", (const char *)guest->stack->warnings->pdata[i]);
  for (guint i = 0; i < guest->stack->nodes->len; i++)
    {
      H2kNode *node = guest->stack->nodes->pdata[i];
      H2kGuestVolume *volume = g_new0 (H2kGuestVolume, 1);

      volume->node = node;
      volume->disk = node->disk;
      volume->volume = node->volume;
      volume->id = node->id;
      g_ptr_array_add (guest->volumes, volume);
      for (guint k = 0; k < node->notes->len; k++)
        h2k_guest_warn (guest, "%s: %s", node->name, (const char *)node->notes->pdata[k]);
    }
  return TRUE;
}

/* Open every filesystem that a driver takes; ERRORS gets, by volume, why another one is not open
 * (GError *, or NULL). A corrupt one only matters when the system turns out to need it. */
static gboolean
open_filesystems (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      GError *why = NULL;

      if (volume->node->problem)
        {
          g_ptr_array_add (errors, g_error_copy (volume->node->problem));
          continue;
        }
      if (*volume->id.type)
        volume->fs = h2k_fs_open (volume->volume->disk, &why);
      if (volume->fs && volume->fs->note)
        {
          g_autofree char *name = h2k_guest_volume_name (volume);
          h2k_guest_warn (guest, "%s (%s): %s", name, volume->id.type, volume->fs->note);
        }
      g_ptr_array_add (errors, why);
      if (why && !g_error_matches (why, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
          && !g_error_matches (why, H2K_ERROR, H2K_ERROR_FILESYSTEM))
        {
          g_propagate_error (error, g_error_copy (why));
          return FALSE;
        }
    }
  return TRUE;
}

/* --- fstab ------------------------------------------------------------------------------------ */

static void
entry_free (gpointer data)
{
  h2k_fstab_entry_free (data);
}

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

/* The entries of TREE's fstab that name block devices, the upper mountpoints first. */
static GPtrArray *
read_fstab (H2kTree *tree, GError **error)
{
  GPtrArray *entries = g_ptr_array_new_with_free_func (entry_free);
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, "/etc/fstab", MAX_FSTAB, error);
  g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;

  for (guint i = 0; lines && i < h2k_lines_count (lines) && entries->len < MAX_ENTRIES; i++)
    {
      H2kFstabEntry *entry = h2k_fstab_parse (h2k_lines_get (lines, i));

      if (entry && h2k_fstab_is_device (entry))
        g_ptr_array_add (entries, entry);
      else
        h2k_fstab_entry_free (entry);
    }
  g_ptr_array_sort (entries, compare_depth);
  return entries;
}

/* --- which system ----------------------------------------------------------------------------- */

/* The tree of one candidate's root filesystem alone. */
static H2kTree *
lone_tree (H2kGuestVolume *volume)
{
  H2kTree *tree = h2k_tree_new ();

  h2k_tree_mount (tree, "/", volume->fs);
  return tree;
}

static GPtrArray *
find_systems (H2kGuest *guest)
{
  GPtrArray *systems = g_ptr_array_new ();

  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autoptr (H2kTree) tree = volume->fs ? lone_tree (volume) : NULL;

      if (tree && h2k_guest_is_system (tree))
        g_ptr_array_add (systems, volume);
    }
  return systems;
}

/* Whether CANDIDATE's fstab says that it is a copy (its root is another of SYSTEMS), or whether
 * another one's mounts it somewhere below its own root. Names that depend on the order of disks
 * prove nothing here. */
static gboolean
is_secondary (H2kGuest *guest, GPtrArray *systems, H2kGuestVolume *candidate)
{
  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *reader = g_ptr_array_index (systems, i);
      g_autoptr (H2kTree) tree = lone_tree (reader);
      g_autoptr (GPtrArray) entries = read_fstab (tree, NULL);

      for (guint k = 0; k < entries->len; k++)
        {
          const H2kFstabEntry *entry = g_ptr_array_index (entries, k);
          gboolean is_root = strcmp (entry->path, "/") == 0, stable;
          H2kGuestVolume *named = h2k_guest_find_volume (guest, entry->spec, &stable);

          if (!named || !stable)
            continue;
          if (reader == candidate && is_root && named != candidate
              && g_ptr_array_find (systems, named, NULL))
            return TRUE;
          if (reader != candidate && !is_root && named == candidate)
            return TRUE;
        }
    }
  return FALSE;
}

static char *
list_systems (GPtrArray *systems)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (systems, i);
      g_autofree char *place = h2k_guest_volume_name (volume);
      g_autoptr (H2kTree) tree = lone_tree (volume);
      g_autofree char *name = h2k_guest_pretty_name (tree);

      g_string_append_printf (text, "%s%s (%s)", i ? ", " : "", name, place);
    }
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

/* What the system may lie on, but what cannot be read: a key is missing, or a disk. */
static const GError *
list_problems (const H2kGuest *guest, GString *text)
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
  const GError *problem = list_problems (guest, problems);
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
                 "no operating system was found where one can be looked for (ext2, ext3, ext4, "
                 "XFS); "
                 "the disks also hold what cannot be read: %s. Such a guest can be copied "
                 "without repairs with --no-guest-inspection",
                 unread->str);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
                 "no operating system was found on %u disk(s) with %u volume(s). Give every disk "
                 "of the VM, or copy them as they are with --no-guest-inspection",
                 guest->disks->len, guest->volumes->len);
}

static gboolean
choose_root (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GPtrArray) systems = find_systems (guest);
  g_autoptr (GPtrArray) first = g_ptr_array_new ();
  g_autofree char *list = NULL;

  if (systems->len == 0)
    {
      set_no_system (guest, errors, error);
      return FALSE;
    }
  for (guint i = 0; systems->len > 1 && i < systems->len; i++)
    if (!is_secondary (guest, systems, g_ptr_array_index (systems, i)))
      g_ptr_array_add (first, g_ptr_array_index (systems, i));
  if (systems->len == 1 || first->len == 1)
    {
      guest->root = g_ptr_array_index (first->len == 1 ? first : systems, 0);
      return TRUE;
    }
  list = list_systems (systems);
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS,
               "%u operating systems were found, and nothing says which one is meant: %s. Give "
               "only the disks of one VM",
               systems->len, list);
  return FALSE;
}

/* --- mounting --------------------------------------------------------------------------------- */

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

  return list_problems (guest, text) ? g_strconcat (" (", text->str, ")", NULL) : g_strdup ("");
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
               "%s. The guest's kernels or programs lie there: give every disk of the VM, or copy "
               "it without repairs with --no-guest-inspection",
               safe);
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

static gboolean
mount_entry (H2kGuest *guest, const H2kFstabEntry *entry, GPtrArray *errors, GError **error)
{
  H2kGuestVolume *volume = h2k_guest_find_volume (guest, entry->spec, NULL);
  gboolean swap = strcmp (entry->type, "swap") == 0;
  gboolean is_root = strcmp (entry->path, "/") == 0;
  guint index;

  if (volume && !volume->spec && !is_root)
    volume->spec = g_strdup (entry->spec);
  if (swap || *entry->path != '/')
    return TRUE;
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
    {
      h2k_tree_mount (guest->tree, entry->path, volume->fs);
      return TRUE;
    }
  if (is_esp (volume))
    return TRUE;
  return g_ptr_array_find (guest->volumes, volume, &index)
         && mount_failed (guest, entry, volume, g_ptr_array_index (errors, index), error);
}

/* --- names that the guest gives ----------------------------------------------------------------
 */

static void add_name (const H2kNode *node, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add_name (const H2kNode *node, const char *format, ...)
{
  char *name;
  va_list args;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  if (g_ptr_array_find_with_equal_func (node->names, name, g_str_equal, NULL))
    g_free (name);
  else
    g_ptr_array_insert (node->names, 0, name);
}

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
  H2kGuestVolume *volume = spec ? h2k_guest_find_volume (guest, spec, NULL) : NULL;

  for (guint i = 0; volume && i < guest->stack->nodes->len; i++)
    {
      const H2kNode *node = guest->stack->nodes->pdata[i];
      if (node->kind == H2K_NODE_LUKS && g_ptr_array_find (node->parents, volume->node, NULL))
        add_name (node, "/dev/mapper/%s", name);
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
          add_name (node, "%s", device);
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

static gboolean
mount_all (H2kGuest *guest, GPtrArray *errors, GError **error)
{
  g_autoptr (GPtrArray) entries = NULL;
  g_autoptr (GError) local = NULL;

  h2k_tree_mount (guest->tree, "/", guest->root->fs);
  guest->root->mountpoint = g_strdup ("/");
  read_names (guest);
  entries = read_fstab (guest->tree, &local);
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

static void
error_free (gpointer data)
{
  if (data)
    g_error_free (data);
}

H2kGuest *
h2k_guest_open (GPtrArray *disks, const H2kKeys *keys, GError **error)
{
  g_autoptr (H2kGuest) guest = guest_new (disks);
  g_autoptr (GPtrArray) errors = g_ptr_array_new_with_free_func (error_free);

  if (!add_volumes (guest, keys, error) || !open_filesystems (guest, errors, error)
      || !choose_root (guest, errors, error) || !mount_all (guest, errors, error))
    return NULL;
  h2k_guest_identify (guest);
  return g_steal_pointer (&guest);
}
