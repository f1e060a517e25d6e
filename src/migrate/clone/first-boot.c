/* first-boot.c - see first-boot.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/first-boot.h"
#include "guest/guest.h"
#include "guest/windows.h"
#include "migrate/clone/start.h"
#include "migrate/clone/virt.h"

#include <unistd.h>

static char *
xml_path (const H2kClone *clone)
{
  return g_build_filename (clone->dir, "domain-bootstrap.xml", NULL);
}

char *
h2k_clone_first_boot_disk (const H2kClone *clone)
{
  return g_build_filename (clone->dir, "domain-bootstrap.img", NULL);
}

/* --- whether it is ahead ---------------------------------------------------------------------- */

/* Whether CLONE was made for one. */
static gboolean
has_first_boot (const H2kClone *clone)
{
  g_autofree char *xml = xml_path (clone);
  g_autofree char *disk = h2k_clone_first_boot_disk (clone);

  return access (xml, F_OK) == 0 && access (disk, F_OK) == 0;
}

gboolean
h2k_clone_first_boot_is_ahead (const H2kClone *clone, GPtrArray *disks)
{
  const H2kGuestOptions options = {.backend = H2K_BACKEND_NATIVE};
  g_autoptr (H2kGuest) guest = NULL;
  g_autoptr (GError) local = NULL;

  if (!has_first_boot (clone))
    return FALSE;
  guest = h2k_guest_open (disks, &options, &local);
  if (guest)
    return guest->windows && guest->windows->first_boot_ahead;
  g_message ("whether the first boot of %s is over cannot be seen, so it is taken to be: %s",
             clone->name, local->message);
  return FALSE;
}

/* The disks of the present state; NULL: errors: those of h2k_clone_open_image(). */
static GPtrArray *
open_disks (const H2kClone *clone, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (guint i = 0; i < clone->n_disks; i++)
    {
      H2kDisk *disk = h2k_clone_open_image (clone, clone->current, i, error);

      if (!disk)
        return NULL;
      g_ptr_array_add (disks, disk);
    }
  return g_steal_pointer (&disks);
}

/* --- the machine ------------------------------------------------------------------------------ */

H2kDomain *
h2k_clone_first_boot_machine (const H2kClone *clone, const H2kDomain *final, const char *disk)
{
  g_autofree char *path = xml_path (clone), *xml = NULL, *iso = NULL;

  if (g_file_get_contents (path, &xml, NULL, NULL))
    iso = h2k_virt_text_at (xml, "/domain/devices/disk[@device='cdrom']/source/@file");

  /* The drivers are in the guest: the ISO is for its administrator. */
  if (iso && access (iso, R_OK) != 0)
    {
      g_autofree char *shown = h2k_escape_text (iso, -1);
      g_message ("the VM has no CD-ROM with drivers, since %s cannot be read", shown);
      g_clear_pointer (&iso, g_free);
    }
  return h2k_domain_bootstrap_new (final, disk, iso);
}

H2kDomain *
h2k_clone_next_machine (const H2kClone *clone, gboolean *first, GError **error)
{
  g_autoptr (GPtrArray) disks = NULL;
  g_autoptr (H2kDomain) final = h2k_clone_machine (clone);
  g_autofree char *disk = h2k_clone_first_boot_disk (clone);
  H2kDomain *machine;

  *first = FALSE;
  /* Others are not looked into. */
  if (has_first_boot (clone) && !(disks = open_disks (clone, error)))
    return NULL;
  *first = disks && h2k_clone_first_boot_is_ahead (clone, disks);
  if (!*first)
    return g_steal_pointer (&final);
  machine = h2k_clone_first_boot_machine (clone, final, disk);
  /* Nothing is to be defined by hand. */
  g_free (machine->description);
  machine->description
      = g_strdup_printf ("%s%sThe first boot on KVM: the next start is from VirtIO",
                         final->description ? final->description : "",
                         final->description ? ". " : "");
  return machine;
}

void
h2k_clone_announce_first_boot (const H2kDomain *machine)
{
  const H2kDomainDisk *disk = machine->disks->pdata[0];

  g_message ("this is the first boot of this Windows on KVM: its disks are on %s, with VirtIO "
             "devices beside them; when it has reported H2K-FIRSTBOOT-DONE on its serial port, "
             "shut it down: the next start is from VirtIO",
             disk->bus == H2K_BUS_IDE ? "IDE" : "SATA");
}
