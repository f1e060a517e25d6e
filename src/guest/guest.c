/* guest.c - finds the installed system on a VM's disks and mounts it as its own fstab says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"
#include "guest/fstab.h"

#define MAX_FSTAB (1024 * 1024)
#define MAX_ENTRIES 1024
#define MAX_SUBVOLUMES 1000u
#define TOP_LEVEL_ID 5u /* btrfs: subvolid=0 means it, too */

/* --- volumes ---------------------------------------------------------------------------------- */

static void
volume_free (gpointer data)
{
  H2kGuestVolume *volume = data;

  h2k_fs_free (volume->fs);
  g_free (volume->subvolume);
  g_free (volume->mountpoint);
  g_free (volume->spec);
  g_free (volume);
}

static void
entry_free (gpointer data)
{
  h2k_fstab_entry_free (data);
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
  g_ptr_array_unref (guest->subtrees);
  g_ptr_array_unref (guest->volumes); /* the filesystems, before what they lie on */
  h2k_guestfs_free (guest->guestfs);
  h2k_stack_free (guest->stack);
  g_ptr_array_unref (guest->disks);
  g_ptr_array_unref (guest->remote);
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

static void
fs_free (gpointer data)
{
  h2k_fs_free (data);
}

static H2kGuest *
guest_new (GPtrArray *disks)
{
  H2kGuest *guest = g_new0 (H2kGuest, 1);

  guest->tree = h2k_tree_new ();
  guest->subtrees = g_ptr_array_new_with_free_func (fs_free);
  guest->disks = g_ptr_array_new_with_free_func (disk_unref);
  guest->volumes = g_ptr_array_new_with_free_func (volume_free);
  guest->remote = g_ptr_array_new_with_free_func (entry_free);
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

/* --- who serves a volume's files ---------------------------------------------------------------
 */

#define NATIVE "native"
#define GUESTFS "libguestfs"
#define BOTH "native, libguestfs"

static void
set_backend (H2kGuestVolume *volume, const char *backend, const char *why)
{
  volume->backend = backend;
  volume->backend_why = why;
}

static gboolean
open_by_guestfs (H2kGuest *guest, H2kGuestVolume *volume, H2kFs *reader, const char *why,
                 GError **error)
{
  set_backend (volume, reader ? BOTH : GUESTFS, why);
  volume->fs = h2k_guestfs_open (guest->guestfs, volume->volume->disk, &volume->id, reader, error);
  return volume->fs != NULL;
}

/* Open VOLUME, which has a type. */
static gboolean
open_volume (H2kGuest *guest, H2kGuestVolume *volume, H2kBackend backend, GError **error)
{
  gboolean guestfs = guest->guestfs && h2k_guestfs_takes (&volume->id);
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (backend == H2K_BACKEND_GUESTFS && guestfs)
    return open_by_guestfs (guest, volume, NULL, "asked for", error);
  fs = h2k_fs_open (volume->volume->disk, &local);
  if (!fs && guestfs && g_error_matches (local, H2K_ERROR, H2K_ERROR_UNSUPPORTED))
    return open_by_guestfs (guest, volume, NULL, "no driver of hyper2kvm reads it", error);
  if (!fs)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (fs->ops->write || !guestfs || fs->frozen || !h2k_disk_is_writable (volume->volume->disk))
    {
      set_backend (volume, NATIVE,
                   fs->ops->write ? "a driver of hyper2kvm reads and writes it"
                                  : "a driver of hyper2kvm reads it");
      volume->fs = g_steal_pointer (&fs);
      return TRUE;
    }
  /* Its log holds changes, which only the kernel replays. */
  if (fs->note)
    return open_by_guestfs (guest, volume, NULL, "it was not unmounted", error);
  return open_by_guestfs (guest, volume, g_steal_pointer (&fs),
                          "a driver of hyper2kvm reads it, libguestfs changes it", error);
}

/* What was opened without looking at it has to stand a look. */
static gboolean
check_volume (H2kGuestVolume *volume, GError **error)
{
  H2kStat st;

  if (strcmp (volume->backend, GUESTFS) != 0
      || volume->fs->ops->lstat (volume->fs, "/", &st, error))
    return TRUE;
  g_clear_pointer (&volume->fs, h2k_fs_free);
  return FALSE;
}

/* Whether VOLUME is one of several that its filesystem lies on, which is a volume of its own. */
static gboolean
is_device (const H2kGuestVolume *volume)
{
  return volume->node->is_member && strcmp (volume->id.type, "btrfs") == 0;
}

/* Open every filesystem that can be; ERRORS gets, by volume, why another one is not open
 * (GError *, or NULL). A corrupt one only matters when the system turns out to need it. */
static gboolean
open_filesystems (H2kGuest *guest, H2kBackend backend, GPtrArray *errors, GError **error)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      GError *why = NULL;

      if (volume->node->problem)
        why = g_error_copy (volume->node->problem);
      else if (*volume->id.type && !is_device (volume))
        open_volume (guest, volume, backend, &why);
      g_ptr_array_add (errors, why);
    }
  /* Only now, since the first look may start the appliance, with all that are known by then. */
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      g_autofree char *name = h2k_guest_volume_name (volume);
      GError **why = (GError **)&errors->pdata[i];

      if (volume->fs)
        check_volume (volume, why);
      if (volume->fs && !volume->fs->frozen)
        volume->fs->frozen = h2k_node_why_read_only (volume->node);
      if (volume->fs && volume->fs->note)
        h2k_guest_warn (guest, "%s (%s): %s", name, volume->id.type, volume->fs->note);
      if (volume->fs)
        g_info ("%s (%s): %s: %s", name, volume->id.type, volume->backend, volume->backend_why);
      if (*why && !volume->node->problem
          && !g_error_matches (*why, H2K_ERROR, H2K_ERROR_UNSUPPORTED)
          && !g_error_matches (*why, H2K_ERROR, H2K_ERROR_FILESYSTEM))
        {
          g_propagate_error (error, g_error_copy (*why));
          return FALSE;
        }
    }
  return TRUE;
}

/* --- fstab ------------------------------------------------------------------------------------ */

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

/* The entries of TREE's fstab that name block devices, the upper mountpoints first, and in REMOTE
 * (may be NULL) those that name servers. */
static GPtrArray *
read_fstab (H2kTree *tree, GPtrArray *remote, GError **error)
{
  GPtrArray *entries = g_ptr_array_new_with_free_func (entry_free);
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

/* --- which system ----------------------------------------------------------------------------- */

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

/* The tree of one candidate's root filesystem alone. */
static H2kTree *
lone_tree (H2kGuest *guest, H2kGuestVolume *volume)
{
  H2kTree *tree = h2k_tree_new ();

  h2k_tree_mount (tree, "/", part_of (guest, volume, volume->subvolume));
  return tree;
}

/* --- subvolumes --------------------------------------------------------------------------------
 */

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

/* The subvolume that ENTRY names, as a path with a slash; NULL: it names none. The caller's. */
static char *
named_subvolume (const H2kFstabEntry *entry, GPtrArray *subvolumes)
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

static const char *
default_subvolume (GPtrArray *subvolumes)
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
  g_autoptr (GPtrArray) entries = read_fstab (tree, NULL, NULL);

  for (guint i = 0; entries && i < entries->len; i++)
    {
      const H2kFstabEntry *entry = entries->pdata[i];
      g_autofree char *named
          = strcmp (entry->path, "/") == 0 ? named_subvolume (entry, subvolumes) : NULL;

      if (strcmp (entry->path, "/") == 0)
        return strcmp (named ? named : default_subvolume (subvolumes), path) == 0;
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
rank_of (H2kGuest *guest, H2kGuestVolume *volume, const H2kSubvolume *subvolume, GPtrArray *all)
{
  g_autoptr (H2kTree) tree = NULL;

  g_free (volume->subvolume);
  volume->subvolume = g_strdup (subvolume->path);
  tree = lone_tree (guest, volume);
  if (!h2k_guest_is_system (tree))
    return RANK_NONE;
  if (subvolume->is_default && strcmp (subvolume->path, "/") != 0)
    return RANK_SAID + 1; /* SUSE boots what a rollback made the default one */
  if (is_kept_copy (subvolume))
    return RANK_COPY;
  if (says_so (tree, subvolume->path, all))
    return RANK_SAID;
  return subvolume->is_default ? RANK_DEFAULT : RANK_SYSTEM;
}

/* Of the systems on one filesystem: the one that is booted. The others are its snapshots. */
static void
choose_subvolume (H2kGuest *guest, H2kGuestVolume *volume)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (GPtrArray) all = volume->fs->ops->subvolumes (volume->fs, &local);
  const H2kSubvolume *best = NULL;
  guint best_rank = RANK_NONE;

  if (!all)
    {
      h2k_guest_warn (guest, "%s: its subvolumes cannot be read: %s", volume->node->name,
                      local->message);
      return;
    }
  for (guint i = 0; i < MIN (all->len, MAX_SUBVOLUMES); i++)
    {
      guint rank = rank_of (guest, volume, all->pdata[i], all);

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
  volume->subvolume = g_strdup (best ? best->path : default_subvolume (all));
}

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
        choose_subvolume (guest, volume);
      tree = lone_tree (guest, volume);
      if (h2k_guest_is_system (tree))
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
      g_autoptr (H2kTree) tree = lone_tree (guest, reader);
      g_autoptr (GPtrArray) entries = read_fstab (tree, NULL, NULL);

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

/* Whether the fstab of CANDIDATE says that it is itself the root, by a name that tells it from what
 * it is a snapshot of. */
static gboolean
names_itself (H2kGuest *guest, H2kGuestVolume *candidate)
{
  g_autoptr (H2kTree) tree = lone_tree (guest, candidate);
  g_autoptr (GPtrArray) entries = read_fstab (tree, NULL, NULL);

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
  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *other = g_ptr_array_index (systems, i);
      if (h2k_node_is_snapshot_of (candidate->node, other->node)
          && !names_itself (guest, candidate))
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

  for (guint i = 0; i < systems->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (systems, i);
      g_autofree char *place = h2k_guest_volume_name (volume);
      g_autoptr (H2kTree) tree = lone_tree (guest, volume);
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
  leave_out_snapshots (guest, systems);
  for (guint i = 0; systems->len > 1 && i < systems->len; i++)
    if (!is_secondary (guest, systems, g_ptr_array_index (systems, i)))
      g_ptr_array_add (first, g_ptr_array_index (systems, i));
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

/* What a mount of VOLUME by ENTRY shows: on btrfs a subvolume. */
static gboolean
mount_volume (H2kGuest *guest, const H2kFstabEntry *entry, H2kGuestVolume *volume, GError **error)
{
  g_autoptr (GPtrArray) subvolumes = NULL;
  g_autofree char *named = NULL;
  H2kFs *fs = volume->fs;
  H2kStat st;

  if (fs->ops->subvolumes)
    {
      subvolumes = fs->ops->subvolumes (fs, error);
      if (!subvolumes)
        return FALSE;
      named = named_subvolume (entry, subvolumes);
      fs = part_of (guest, volume, named ? named : default_subvolume (subvolumes));
    }
  if (!fs->ops->lstat (fs, "/", &st, NULL))
    {
      g_autoptr (GError) why
          = g_error_new (H2K_ERROR, H2K_ERROR_FILESYSTEM, "there is no subvolume %s", named);
      return mount_failed (guest, entry, volume, why, error);
    }
  h2k_tree_mount (guest->tree, entry->path, fs);
  return TRUE;
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

  h2k_tree_mount (guest->tree, "/", part_of (guest, guest->root, guest->root->subvolume));
  guest->root->mountpoint = g_strdup ("/");
  read_names (guest);
  entries = read_fstab (guest->tree, guest->remote, &local);
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

/* Asked for and left out when this was built is an error. */
static gboolean
add_guestfs (H2kGuest *guest, const H2kGuestOptions *options, GError **error)
{
  if (options->backend == H2K_BACKEND_NATIVE)
    return TRUE;
  guest->guestfs = h2k_guestfs_new (options->kvm_works);
  if (guest->guestfs || options->backend == H2K_BACKEND_AUTO)
    return TRUE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                       "--backend=guestfs: this hyper2kvm was built without libguestfs");
  return FALSE;
}

H2kGuest *
h2k_guest_open (GPtrArray *disks, const H2kGuestOptions *options, GError **error)
{
  static const H2kGuestOptions none;
  g_autoptr (H2kGuest) guest = guest_new (disks);
  g_autoptr (GPtrArray) errors = g_ptr_array_new_with_free_func (error_free);

  options = options ? options : &none;
  if (!add_guestfs (guest, options, error) || !add_volumes (guest, options->keys, error)
      || !open_filesystems (guest, options->backend, errors, error)
      || !choose_root (guest, errors, error) || !mount_all (guest, errors, error))
    return NULL;
  h2k_guest_identify (guest);
  return g_steal_pointer (&guest);
}
