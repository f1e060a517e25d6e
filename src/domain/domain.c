/* domain.c - the description of a VM that the XML and the QEMU arguments are made from.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"

#include <sys/stat.h>

/* A 32-bit x86 guest gets the 64-bit machine, as its hardware was: it may hold a 64-bit kernel. */
static const H2kArch arches[] = {
    {"x86_64", "x86_64", "q35", "qemu-system-x86_64", "ttyS0", .acpi = TRUE, .root_ports = TRUE,
     .ide = TRUE, .transport = "pci"},
    {"i686", "x86_64", "q35", "qemu-system-x86_64", "ttyS0", .acpi = TRUE, .root_ports = TRUE,
     .ide = TRUE, .transport = "pci"},
    {"aarch64", "aarch64", "virt", "qemu-system-aarch64", "ttyAMA0", .acpi = TRUE,
     .root_ports = TRUE, .always_uefi = TRUE, .transport = "pci"},
    {"riscv64", "riscv64", "virt", "qemu-system-riscv64", "ttyS0", .root_ports = TRUE,
     .always_uefi = TRUE, .transport = "pci"},
    {"ppc64le", "ppc64le", "pseries", "qemu-system-ppc64", "hvc0", .transport = "pci"},
    {"s390x", "s390x", "s390-ccw-virtio", "qemu-system-s390x", "ttysclp0", .transport = "ccw"},
};

const H2kArch *
h2k_arch_get (const char *arch)
{
  for (gsize i = 0; arch != NULL && i < G_N_ELEMENTS (arches); i++)
    if (strcmp (arches[i].guest, arch) == 0)
      return &arches[i];
  return &arches[0];
}

char *
h2k_disk_target (const char *prefix, guint index)
{
  GString *name = g_string_new (NULL);

  /* Letters count without a zero: z is followed by aa. */
  for (guint n = index + 1; n > 0; n = (n - 1) / 26)
    g_string_prepend_c (name, (char)('a' + (n - 1) % 26));
  g_string_prepend (name, prefix);
  return g_string_free (name, FALSE);
}

gboolean
h2k_domain_disk_is_device (const H2kDomainDisk *disk)
{
  struct stat st;

  return stat (disk->path, &st) == 0 && S_ISBLK (st.st_mode);
}

static void
disk_free (gpointer data)
{
  H2kDomainDisk *disk = data;

  g_free (disk->path);
  g_free (disk->format);
  g_free (disk);
}

static void
nic_free (gpointer data)
{
  H2kDomainNic *nic = data;

  g_free (nic->mac);
  g_free (nic->network);
  g_free (nic->was);
  g_free (nic);
}

H2kDomain *
h2k_domain_new (const char *name)
{
  H2kDomain *domain = g_new0 (H2kDomain, 1);

  domain->name = g_strdup (name);
  domain->arch = g_strdup ("x86_64");
  domain->memory_mib = 2048;
  domain->vcpus = 2;
  domain->disks = g_ptr_array_new_with_free_func (disk_free);
  domain->nics = g_ptr_array_new_with_free_func (nic_free);
  return domain;
}

void
h2k_domain_free (H2kDomain *domain)
{
  if (domain == NULL)
    return;
  g_free (domain->name);
  g_free (domain->uuid);
  g_free (domain->description);
  g_free (domain->osinfo_id);
  g_free (domain->arch);
  g_ptr_array_unref (domain->disks);
  g_ptr_array_unref (domain->nics);
  g_free (domain);
}

void
h2k_domain_add_disk (H2kDomain *domain, const char *path, const char *format, H2kBus bus)
{
  H2kDomainDisk *disk = g_new0 (H2kDomainDisk, 1);

  disk->path = g_canonicalize_filename (path, NULL);
  disk->format = g_strdup (format);
  disk->bus = bus;
  g_ptr_array_add (domain->disks, disk);
}

void
h2k_domain_add_nic (H2kDomain *domain, const char *mac, const char *network)
{
  H2kDomainNic *nic = g_new0 (H2kDomainNic, 1);

  nic->mac = mac == NULL ? NULL : h2k_mac_parse (mac);
  nic->network = g_strdup (network);
  g_ptr_array_add (domain->nics, nic);
}
