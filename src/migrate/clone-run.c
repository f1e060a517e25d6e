/* clone-run.c - the command that starts a clone's VM with QEMU, where there is no libvirt.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/boot.h"
#include "clone/clone.h"
#include "clone/fingerprint.h"
#include "clone/storage.h"
#include "domain/arch.h"
#include "domain/firmware.h"
#include "domain/qemu.h"
#include "migrate/clones.h"

#include <unistd.h>

/* An overlay over an original that has changed is a corrupt disk: it must not be started. */
static gboolean
check_originals (const H2kClone *clone, GError **error)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autoptr (GPtrArray) found = NULL;
      g_autofree char *all = NULL;

      if (!h2k_clones_original_differs (clone, i, FALSE, NULL, NULL, &found, error))
        return FALSE;
      if (found->len == 0)
        continue;
      g_ptr_array_add (found, NULL);
      all = g_strjoinv ("; ", (char **)found->pdata);
      g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
                   "the original of the clone %s is not what it was: %s. The clone's disk would be "
                   "corrupt: bring the original back, or make another clone of it; --force-unsafe "
                   "starts it all the same",
                   clone->name, all);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_not_running (const H2kClone *clone, GError **error)
{
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  g_autofree char *users = NULL;

  if (h2k_clone_use (clone) != H2K_IMAGE_WRITTEN)
    return TRUE;
  users = h2k_file_users (image);
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the clone %s runs already%s%s", clone->name,
               users ? ": " : "", users ? users : "");
  return FALSE;
}

static gboolean
check_room (const H2kClone *clone, GError **error)
{
  g_autoptr (H2kStorage) storage = h2k_storage_of (clone->dir, error);

  return storage && h2k_storage_check (storage, clone->dir, 0, error);
}

/* The machine as it was defined, on the disks where they are now. */
static H2kDomain *
machine_of (const H2kClone *clone)
{
  JsonNode *node = json_object_get_member (clone->root, "machine");
  g_autoptr (JsonObject) empty = json_object_new ();
  JsonObject *o = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : empty;
  H2kDomain *domain = h2k_domain_from_json (o);
  g_autofree char *nvram = g_build_filename (clone->dir, "current", "nvram.fd", NULL);
  gboolean uefi = access (nvram, F_OK) == 0;

  g_free (domain->name);
  domain->name = g_strdup (clone->name);
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *image = h2k_clone_image (clone, 0, i);
      H2kDomainDisk *disk;
      if (i >= domain->disks->len)
        h2k_domain_add_disk (domain, image, "qcow2", H2K_BUS_VIRTIO_BLK);
      disk = g_ptr_array_index (domain->disks, i);
      g_free (disk->path);
      disk->path = g_steal_pointer (&image);
    }
  g_ptr_array_set_size (domain->disks, (gint)clone->n_disks);
  if (domain->nics->len == 0)
    h2k_domain_add_nic (domain, NULL, NULL);
  domain->firmware = uefi ? H2K_FIRMWARE_UEFI : H2K_FIRMWARE_BIOS;
  g_free (domain->nvram);
  domain->nvram = uefi ? g_steal_pointer (&nvram) : NULL;
  return domain;
}

static void add (GPtrArray *args, const char *text, ...) G_GNUC_NULL_TERMINATED;

static void
add (GPtrArray *args, const char *text, ...)
{
  va_list ap;

  va_start (ap, text);
  for (; text; text = va_arg (ap, const char *))
    g_ptr_array_add (args, g_strdup (text));
  va_end (ap);
}

static GPtrArray *
make_args (const H2kDomain *domain, gboolean screen, GError **error)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);
  g_autofree char *emulator = g_find_program_in_path (arch->emulator);
  g_autoptr (H2kUefiFiles) files = NULL;
  const char *why = NULL;
  H2kQemuSetup setup = {.accel = h2k_kvm_works (&why) ? "kvm" : "tcg"};
  GPtrArray *args;

  if (!emulator)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "%s is not installed: install QEMU",
                   arch->emulator);
      return NULL;
    }
  if (domain->firmware == H2K_FIRMWARE_UEFI)
    {
      if (!(files = h2k_uefi_find ("", arch->libvirt, error)))
        return NULL;
      setup.uefi_code = files->code;
      setup.uefi_vars = domain->nvram;
    }
  if (why)
    g_message ("the VM is emulated, which is slow: %s", why);
  args = h2k_qemu_args (domain, &setup);
  g_ptr_array_insert (args, 0, g_strdup (emulator));
  add (args, "-nodefaults", "-no-user-config", "-accel",
       g_str_equal (setup.accel, "tcg") ? "tcg,thread=multi" : setup.accel, "-serial", "mon:stdio",
       NULL);
  if (g_str_equal (arch->libvirt, "x86_64"))
    add (args, "-device", "VGA", NULL);
  add (args, screen ? "-vnc" : "-display", screen ? "127.0.0.1:0,to=99" : "none", NULL);
  g_ptr_array_add (args, NULL);
  return args;
}

char **
h2k_clones_run_args (const char *state_dir, const char *name, gboolean screen, gboolean unsafe,
                     GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (H2kClone) clone = store ? h2k_clone_open (store, name, H2K_CLONE_LOOK, error) : NULL;
  g_autoptr (H2kDomain) domain = NULL;
  g_autoptr (GError) local = NULL;
  GPtrArray *args;

  if (!clone || !check_not_running (clone, error) || !check_room (clone, error))
    return NULL;
  if (!check_originals (clone, &local))
    {
      if (!unsafe || !g_error_matches (local, H2K_ERROR, H2K_ERROR_VERIFY))
        {
          g_propagate_error (error, g_steal_pointer (&local));
          return NULL;
        }
      g_warning ("%s", local->message);
    }
  domain = machine_of (clone);
  args = make_args (domain, screen, error);
  return args ? (char **)g_ptr_array_free (args, FALSE) : NULL;
}
