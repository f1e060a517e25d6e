/* vm.c - the structure that every description of a VM is parsed into, and the rule for the names
 * of files in descriptions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/private.h"

H2kVm *
h2k_vm_new (void)
{
  H2kVm *vm = g_new0 (H2kVm, 1);

  vm->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_vm_disk_free);
  vm->nics = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_vm_nic_free);
  return vm;
}

void
h2k_vm_free (H2kVm *vm)
{
  if (!vm)
    return;
  g_free (vm->name);
  g_free (vm->os_hint);
  g_ptr_array_unref (vm->disks);
  g_ptr_array_unref (vm->nics);
  g_free (vm);
}

void
h2k_vm_disk_free (H2kVmDisk *disk)
{
  while (disk)
    {
      H2kVmDisk *parent = disk->parent;
      g_free (disk->file);
      g_free (disk->id);
      g_free (disk->format);
      g_free (disk->controller_type);
      g_free (disk->parent_ref);
      g_free (disk);
      disk = parent;
    }
}

void
h2k_vm_nic_free (H2kVmNic *nic)
{
  if (!nic)
    return;
  g_free (nic->mac);
  g_free (nic->network);
  g_free (nic->model);
  g_free (nic);
}

void
h2k_vm_move_disk (H2kVm *vm, H2kVmDisk *disk, guint index)
{
  guint from;

  if (g_ptr_array_find (vm->disks, disk, &from) && from != index)
    g_ptr_array_insert (vm->disks, (int)index, g_ptr_array_steal_index (vm->disks, from));
}

static gboolean
has_room (const GPtrArray *devices, const char *what, const char *name, GError **error)
{
  if (devices->len < H2K_VM_MAX_DEVICES)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: the VM has more than %d %s; remove those that it does not need", name,
               H2K_VM_MAX_DEVICES, what);
  return FALSE;
}

gboolean
h2k_vm_add_disk (H2kVm *vm, H2kVmDisk *disk, const char *name, GError **error)
{
  g_autoptr (H2kVmDisk) owned = disk;

  if (!has_room (vm->disks, "disks", name, error))
    return FALSE;
  g_ptr_array_add (vm->disks, g_steal_pointer (&owned));
  return TRUE;
}

gboolean
h2k_vm_add_nic (H2kVm *vm, H2kVmNic *nic, const char *name, GError **error)
{
  g_autoptr (H2kVmNic) owned = nic;

  if (!has_room (vm->nics, "network adapters", name, error))
    return FALSE;
  g_ptr_array_add (vm->nics, g_steal_pointer (&owned));
  return TRUE;
}

char *
h2k_description_copy (const char *text, gsize size, const char *name, GError **error)
{
  if (size > H2K_DESCRIPTION_MAX)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: has %" G_GSIZE_FORMAT " bytes, too many for the description of a VM (at "
                   "most %u MiB): is it the right file?",
                   name, size, H2K_DESCRIPTION_MAX >> 20);
      return NULL;
    }
  while (size && text[size - 1] == '\0')
    size--;
  if (size && memchr (text, 0, size))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: has zero bytes in it and is no text: it is damaged or not a description of "
                   "a VM",
                   name);
      return NULL;
    }
  return g_strndup (text, size);
}

/* Why PATH is not taken; NULL when it is. Backslashes count as separators, so that a name which is
 * harmless here is so everywhere. */
static const char *
path_problem (const char *path)
{
  g_auto (GStrv) parts = NULL;

  if (*path == '\0')
    return "is empty";
  if (!g_utf8_validate (path, -1, NULL))
    return "is not UTF-8 text";
  for (const char *p = path; *p; p++)
    if (g_ascii_iscntrl (*p))
      return "has control characters in it";
  if (path[0] == '/' || path[0] == '\\'
      || (g_ascii_isalpha (path[0]) && path[1] == ':' && (path[2] == '/' || path[2] == '\\')))
    return "is absolute";
  parts = g_strsplit_set (path, "/\\", -1);
  for (char **part = parts; *part; part++)
    if (strcmp (*part, "..") == 0)
      return "leads out of the description's folder";
  return NULL;
}

char *
h2k_plain_path (const char *path, const char *name, GError **error)
{
  const char *problem = path_problem (path);
  GString *plain = NULL;
  g_auto (GStrv) parts = NULL;

  if (!problem)
    {
      plain = g_string_new (NULL);
      parts = g_strsplit (path, "/", -1);
      for (char **part = parts; *part; part++)
        if (**part && strcmp (*part, ".") != 0)
          g_string_append_printf (plain, "%s%s", plain->len ? "/" : "", *part);
      if (plain->len)
        return g_string_free (plain, FALSE);
      g_string_free (plain, TRUE);
      problem = "names a folder";
    }
  g_autofree char *safe = h2k_escape_text (path, (gssize)MIN (strlen (path), 200));
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: the file name \"%s\" %s; put the file beside the description and write its "
               "plain name there",
               name, safe, problem);
  return NULL;
}
