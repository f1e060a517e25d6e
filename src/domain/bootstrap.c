/* bootstrap.c - the definition that a Windows guest has for its first boot on KVM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"

/* A pair of ATA channels has four places. */
#define IDE_PLACES 4

static gboolean
is_virtio (H2kBus bus)
{
  return bus == H2K_BUS_VIRTIO_BLK || bus == H2K_BUS_VIRTIO_SCSI;
}

/* The disk that the guest will boot from by VirtIO, or would; NULL: FINAL has none on VirtIO. */
static const H2kDomainDisk *
first_virtio (const H2kDomain *final)
{
  for (guint i = 0; i < final->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (final->disks, i);

      if (is_virtio (disk->bus))
        return disk;
    }
  return NULL;
}

/* Put DOMAIN's disks on a controller that every Windows has a driver for. What IDE has no place for
 * stays on VirtIO: the system is not on it. */
static void
move_disks (H2kDomain *domain)
{
  H2kBus bus = h2k_domain_is_i440fx (domain) ? H2K_BUS_IDE : H2K_BUS_SATA;
  guint room
      = bus == H2K_BUS_IDE ? IDE_PLACES - MIN (domain->cdroms->len, IDE_PLACES - 1) : G_MAXUINT;

  for (guint i = 0; i < domain->disks->len && i < room; i++)
    ((H2kDomainDisk *)g_ptr_array_index (domain->disks, i))->bus = bus;
}

static char *
describe (const H2kDomain *final)
{
  g_autofree char *file = g_strconcat (final->name, ".xml", NULL);
  g_autofree char *quoted = g_shell_quote (file);

  return g_strdup_printf ("%s%sPhase 1 of 2: in this definition Windows meets the VirtIO devices "
                          "while its disks are on "
                          "a controller that it knows. When it has reported H2K-FIRSTBOOT-DONE on "
                          "its serial port, shut "
                          "it down and go on with the final definition: virsh define %s",
                          final->description != NULL ? final->description : "",
                          final->description != NULL ? ". " : "", quoted);
}

H2kDomain *
h2k_domain_bootstrap_new (const H2kDomain *final, const char *extra_disk, const char *driver_iso)
{
  H2kDomain *domain = h2k_domain_copy (final);
  const H2kDomainDisk *virtio = first_virtio (final);
  H2kDomainDisk *extra;

  /* The one that is made of the disks' names would change with the extra disk. */
  g_free (domain->uuid);
  domain->uuid = h2k_domain_get_uuid (final);
  h2k_domain_fix_macs (domain);
  if (driver_iso != NULL)
    h2k_domain_add_cdrom (domain, driver_iso);
  move_disks (domain);
  h2k_domain_add_disk (domain, extra_disk, "raw",
                       virtio != NULL ? virtio->bus : H2K_BUS_VIRTIO_BLK);
  extra = g_ptr_array_index (domain->disks, domain->disks->len - 1);
  extra->place = virtio != NULL ? virtio->place : 0;
  g_free (domain->description);
  domain->description = describe (final);
  return domain;
}
