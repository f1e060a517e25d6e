/* places.c - where the PCI devices of a Windows guest are.
 *
 * Devices are counted: NICs, what each domain has, disks. The last come last since their number is
 * what changes. On a PCI Express machine each device is alone behind a root port, eight of which
 * share a slot from slot 2 on; the i440fx has one bus, where slot 2 is the VGA's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/places.h"
#include "domain/arch.h"

#define FIRST_PORT_SLOT 2
/* From this slot on are conventional PCI devices of a PCI Express machine, and behind them what the
 * chipset has. */
#define FIRST_CONVENTIONAL_SLOT 0x10
#define LAST_CONVENTIONAL_SLOT 0x19
#define FIRST_PC_SLOT 3
#define LAST_SLOT 0x1f

G_STATIC_ASSERT ((FIRST_CONVENTIONAL_SLOT - FIRST_PORT_SLOT) * 8 == H2K_MAX_PORTS);

static gboolean
is_express (const H2kDomain *domain)
{
  return h2k_arch_get (domain->arch)->root_ports && !h2k_domain_is_i440fx (domain);
}

/* The place of the device that COUNT others are counted before. */
static H2kPci
place (const H2kDomain *domain, guint count)
{
  H2kPci pci = {0};

  if (domain->windows == NULL)
    return pci;
  if (is_express (domain))
    {
      pci.pinned = count < H2K_MAX_PORTS;
      pci.bus = count + 1;
    }
  else
    {
      pci.pinned = count <= LAST_SLOT - FIRST_PC_SLOT;
      pci.slot = FIRST_PC_SLOT + count;
    }
  return pci;
}

H2kPci
h2k_place_nic (const H2kDomain *domain, guint number)
{
  const H2kDomainNic *nic = g_ptr_array_index (domain->nics, number);
  H2kPci pci = place (domain, number);

  /* These are conventional PCI devices, which a root port does not take. */
  if (is_express (domain) && (nic->model == H2K_NIC_E1000 || nic->model == H2K_NIC_RTL8139))
    {
      pci.pinned &= number <= LAST_CONVENTIONAL_SLOT - FIRST_CONVENTIONAL_SLOT;
      pci.bus = 0;
      pci.slot = FIRST_CONVENTIONAL_SLOT + number;
    }
  return pci;
}

H2kPci
h2k_place_device (const H2kDomain *domain, H2kPlace device)
{
  return place (domain, domain->nics->len + device);
}

H2kPci
h2k_place_disk (const H2kDomain *domain, const H2kDomainDisk *disk)
{
  return place (domain, domain->nics->len + H2K_N_PLACES + disk->place);
}

guint
h2k_place_ports (const H2kDomain *domain)
{
  guint disks = 0;

  if (domain->windows == NULL || !is_express (domain))
    return 0;
  for (guint i = 0; i < domain->disks->len; i++)
    disks = MAX (disks, ((H2kDomainDisk *)g_ptr_array_index (domain->disks, i))->place + 1);
  return MIN (domain->nics->len + H2K_N_PLACES + disks, H2K_MAX_PORTS);
}

H2kPci
h2k_place_port (guint number)
{
  H2kPci pci = {.pinned = TRUE, .slot = FIRST_PORT_SLOT + number / 8, .function = number % 8};

  return pci;
}
