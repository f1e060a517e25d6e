/* guest.c - finds the installed system on a VM's disks and mounts it as its own fstab says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

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
  h2k_windows_free (guest->windows);
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
  guest->remote = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_fstab_entry_free);
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
add_volumes (H2kGuest *guest, const H2kGuestOptions *options, GError **error)
{
  guest->stack = h2k_stack_new_alone (guest->disks, options->keys, options->alone, error);
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

/* --- all ---------------------------------------------------------------------------------------
 */

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
  if (!add_guestfs (guest, options, error) || !add_volumes (guest, options, error)
      || !h2k_guest_open_filesystems (guest, options, errors, error)
      || !h2k_guest_choose_root (guest, options->any_system, errors, error)
      || !h2k_guest_mount_all (guest, errors, error))
    return NULL;
  if (h2k_guest_is_windows (guest->root))
    return h2k_guest_identify_windows (guest, options->temp_dir, error) ? g_steal_pointer (&guest)
                                                                        : NULL;
  h2k_guest_identify (guest);
  return g_steal_pointer (&guest);
}

gboolean
h2k_guest_flush (H2kGuest *guest, GError **error)
{
  if (!h2k_tree_flush (guest->tree, error))
    return FALSE;
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      H2kFs *fs = volume->fs;

      if (fs && fs->writable && fs->ops->flush && !fs->ops->flush (fs, error))
        {
          g_prefix_error (error, "%s: ", volume->node->name);
          return FALSE;
        }
    }
  return TRUE;
}
