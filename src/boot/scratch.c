/* scratch.c - makes and removes the throw-away copy of a VM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/scratch.h"
#include "boot/marker.h"
#include "copy/copy.h"
#include "domain/arch.h"
#include "domain/firmware.h"

#include <errno.h>
#include <glib/gstdio.h>

/* What the marker unit and a journal's replay may change in memory. */
#define OVERLAY_MEMORY (64 << 20)

static void
remove_dir (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  /* Flat: only this file and QEMU, which was given no other names, have written into it. */
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *file = g_build_filename (path, name, NULL);

      g_unlink (file);
    }
  if (g_rmdir (path) != 0)
    g_warning ("cannot remove the temporary directory %s: %s", path, g_strerror (errno));
}

void
h2k_scratch_free (H2kScratch *scratch)
{
  if (scratch == NULL)
    return;
  if (scratch->dir != NULL)
    remove_dir (scratch->dir);
  h2k_domain_free (scratch->domain);
  g_free (scratch->dir);
  g_free (scratch->uefi_code);
  g_free (scratch->uefi_vars);
  g_free (scratch->nonce);
  g_free (scratch->no_marker_why);
  g_free (scratch);
}

static gboolean
make_dir (H2kScratch *scratch, const char *temp_dir, GError **error)
{
  const char *parent = temp_dir != NULL ? temp_dir : g_getenv ("TMPDIR");
  g_autofree char *absolute = NULL, *path = NULL;

  if (parent == NULL || *parent == '\0')
    parent = "/var/tmp";
  absolute = g_canonicalize_filename (parent, NULL);
  path = g_build_filename (absolute, "hyper2kvm-boot-XXXXXX", NULL);
  /* Mode 0700: the overlays hold parts of the guest. */
  if (g_mkdtemp (path) == NULL)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot make a temporary directory in %s (choose another with --temp-dir)",
                     absolute);
      return FALSE;
    }
  scratch->dir = g_steal_pointer (&path);
  return TRUE;
}

static gboolean
copy_firmware (H2kScratch *scratch, GError **error)
{
  const H2kArch *arch = h2k_arch_get (scratch->domain->arch);
  g_autoptr (H2kUefiFiles) files = NULL;
  g_autofree char *data = NULL;
  g_autoptr (GError) local = NULL;
  gsize length;

  if (scratch->domain->firmware != H2K_FIRMWARE_UEFI && !arch->always_uefi)
    return TRUE;
  files = h2k_uefi_find ("", arch->libvirt, error);
  if (files == NULL)
    return FALSE;
  scratch->uefi_code = g_strdup (files->code);
  scratch->uefi_vars
      = g_build_filename (scratch->dir,
                          g_str_has_suffix (files->vars, ".qcow2") ? "vars.qcow2" : "vars.fd",
                          NULL);
  if (g_file_get_contents (files->vars, &data, &length, &local)
      && g_file_set_contents (scratch->uefi_vars, data, (gssize)length, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "cannot copy the UEFI variables: %s",
               local->message);
  return FALSE;
}

/* Overlays in memory over DOMAIN's disks. */
static GPtrArray *
open_overlays (const H2kDomain *domain, const char *dir, GError **error)
{
  g_autoptr (GPtrArray) overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (guint i = 0; i < domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);
      g_autoptr (H2kImageKey) key
          = disk->luks != NULL ? h2k_image_key_read (disk->luks->key_file, error) : NULL;
      g_autoptr (H2kDisk) base = disk->luks == NULL || key != NULL
                                     ? h2k_disk_open_with (disk->path, disk->format, key, error)
                                     : NULL;

      if (base == NULL)
        return NULL;
      g_ptr_array_add (overlays, h2k_overlay_new (base, dir, OVERLAY_MEMORY));
    }
  return g_steal_pointer (&overlays);
}

/* Install the marker unit. FALSE with an error: it is not possible, or failed; the overlays are as
 * they were. */
static gboolean
install_marker (GPtrArray *overlays, const H2kBootOptions *options, const char *nonce,
                GError **error)
{
  g_autoptr (H2kKeys) keys = h2k_keys_parse (options->keys, error);
  H2kGuestOptions how = {.keys = keys, .kvm_works = h2k_kvm_works};
  g_autoptr (H2kGuest) guest = keys ? h2k_guest_open (overlays, &how, error) : NULL;
  const char *why = NULL;
  gboolean ok = FALSE;

  if (guest != NULL && !h2k_marker_possible (guest, &why))
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_BOOT, why);
  else if (guest != NULL)
    ok = h2k_marker_install (guest, nonce, options->reboot, error);
  g_clear_pointer (&guest, h2k_guest_free);
  for (guint i = 0; !ok && i < overlays->len; i++)
    h2k_overlay_reset (g_ptr_array_index (overlays, i));
  return ok;
}

gboolean
h2k_boot_by_firstboot (const H2kDomain *domain, const H2kBootOptions *options)
{
  return options->evidence == H2K_EVIDENCE_FIRSTBOOT
         || (options->evidence == H2K_EVIDENCE_AUTO && domain->windows != NULL);
}

static gboolean
prepare_marker (H2kScratch *scratch, GPtrArray *overlays, const H2kBootOptions *options,
                GError **error)
{
  g_autofree char *uuid = NULL;
  g_autoptr (GError) local = NULL;

  if (options->evidence == H2K_EVIDENCE_LOGIN || h2k_boot_by_firstboot (scratch->domain, options))
    return TRUE;
  uuid = g_uuid_string_random ();
  if (install_marker (overlays, options, uuid, &local))
    {
      scratch->nonce = g_steal_pointer (&uuid);
      return TRUE;
    }
  scratch->no_marker_why = g_strdup (local->message);
  g_info ("boot: no marker unit, the login prompt is waited for: %s", local->message);
  if (options->evidence != H2K_EVIDENCE_MARKER)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_BOOT,
               "the marker unit cannot be put into the guest: %s; give --evidence=login and make "
               "sure that the guest has a login prompt on its serial console",
               local->message);
  return FALSE;
}

/* Save OVERLAY over DISK as the domain's next disk: encrypted, if DISK is. */
static gboolean
save_overlay (H2kScratch *scratch, const H2kDomainDisk *disk, H2kDisk *overlay, GError **error)
{
  g_autofree char *name = g_strdup_printf ("disk%u.qcow2", scratch->domain->disks->len);
  g_autofree char *path = g_build_filename (scratch->dir, name, NULL);
  g_auto (H2kImageLuks) luks = {0};
  g_autoptr (H2kImageKey) key = NULL;
  H2kDomainDisk *own;

  if (disk->luks != NULL
      && ((key = h2k_image_key_read (disk->luks->key_file, error)) == NULL
          || !h2k_image_luks_read (disk->path, key, &luks, error)))
    return FALSE;
  if (!h2k_qcow2_save_encrypted (overlay, path, 0666, disk->path, disk->format,
                                 luks.header != NULL ? &luks : NULL, g_cancellable_get_current (),
                                 error))
    return FALSE;
  h2k_domain_add_disk (scratch->domain, path, "qcow2", disk->bus);
  own = g_ptr_array_index (scratch->domain->disks, scratch->domain->disks->len - 1);
  own->place = disk->place;
  own->luks = h2k_domain_luks_copy (disk->luks);
  if (own->luks != NULL)
    g_ptr_array_insert (own->luks->below, 0, g_strdup (disk->path));
  return TRUE;
}

static gboolean
save_overlays (H2kScratch *scratch, const H2kDomain *domain, GPtrArray *overlays, GError **error)
{
  for (guint i = 0; i < overlays->len; i++)
    if (!save_overlay (scratch, domain->disks->pdata[i], overlays->pdata[i], error))
      return FALSE;
  return TRUE;
}

H2kScratch *
h2k_scratch_new (const H2kDomain *domain, const H2kBootOptions *options, GError **error)
{
  g_autoptr (H2kScratch) scratch = g_new0 (H2kScratch, 1);
  g_autoptr (GPtrArray) overlays = NULL;

  scratch->domain = h2k_domain_copy (domain);
  g_ptr_array_set_size (scratch->domain->disks, 0);
  if (!make_dir (scratch, options->temp_dir, error) || !copy_firmware (scratch, error))
    return NULL;
  overlays = open_overlays (domain, scratch->dir, error);
  if (overlays == NULL || !prepare_marker (scratch, overlays, options, error)
      || !save_overlays (scratch, domain, overlays, error))
    return NULL;
  return g_steal_pointer (&scratch);
}
