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

H2kDomainLuks *
h2k_domain_luks_new (const char *key_file, const char *secret)
{
  H2kDomainLuks *luks = g_new0 (H2kDomainLuks, 1);

  luks->key_file = g_strdup (key_file);
  luks->secret = g_strdup (secret);
  luks->below = g_ptr_array_new_with_free_func (g_free);
  return luks;
}

H2kDomainLuks *
h2k_domain_luks_copy (const H2kDomainLuks *luks)
{
  H2kDomainLuks *copy = luks != NULL ? h2k_domain_luks_new (luks->key_file, luks->secret) : NULL;

  for (guint i = 0; copy != NULL && i < luks->below->len; i++)
    g_ptr_array_add (copy->below, g_strdup (luks->below->pdata[i]));
  return copy;
}

void
h2k_domain_luks_free (H2kDomainLuks *luks)
{
  if (luks == NULL)
    return;
  g_free (luks->key_file);
  g_free (luks->secret);
  g_ptr_array_unref (luks->below);
  g_free (luks);
}

static void
disk_free (gpointer data)
{
  H2kDomainDisk *disk = data;

  g_free (disk->path);
  g_free (disk->format);
  h2k_domain_luks_free (disk->luks);
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
  domain->cdroms = g_ptr_array_new_with_free_func (g_free);
  return domain;
}

static void
copy_devices (H2kDomain *copy, const H2kDomain *domain)
{
  for (guint i = 0; i < domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);

      H2kDomainDisk *new;

      h2k_domain_add_disk (copy, disk->path, disk->format, disk->bus);
      new = g_ptr_array_index (copy->disks, i);
      new->place = disk->place;
      new->logical_block = disk->logical_block;
      new->physical_block = disk->physical_block;
      new->direct = disk->direct;
      new->luks = h2k_domain_luks_copy (disk->luks);
    }
  for (guint i = 0; i < domain->nics->len; i++)
    {
      const H2kDomainNic *nic = g_ptr_array_index (domain->nics, i);
      H2kDomainNic *new;

      h2k_domain_add_nic (copy, nic->mac, nic->network);
      new = g_ptr_array_index (copy->nics, i);
      new->was = g_strdup (nic->was);
      new->model = nic->model;
      new->user = nic->user;
    }
  for (guint i = 0; i < domain->cdroms->len; i++)
    h2k_domain_add_cdrom (copy, g_ptr_array_index (domain->cdroms, i));
}

H2kDomain *
h2k_domain_copy (const H2kDomain *domain)
{
  H2kDomain *copy = h2k_domain_new (domain->name);

  copy->uuid = g_strdup (domain->uuid);
  copy->description = g_strdup (domain->description);
  copy->osinfo_id = g_strdup (domain->osinfo_id);
  g_free (copy->arch);
  copy->arch = g_strdup (domain->arch);
  copy->firmware = domain->firmware;
  copy->nvram = g_strdup (domain->nvram);
  copy->secure_boot = domain->secure_boot;
  copy->tpm = domain->tpm;
  copy->memory_mib = domain->memory_mib;
  copy->vcpus = domain->vcpus;
  copy->i440fx = domain->i440fx;
  copy->emulated = domain->emulated;
  copy->dac_label = g_strdup (domain->dac_label);
  if (domain->windows != NULL)
    copy->windows = g_memdup2 (domain->windows, sizeof *domain->windows);
  copy_devices (copy, domain);
  return copy;
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
  g_free (domain->dac_label);
  g_free (domain->nvram);
  g_ptr_array_unref (domain->disks);
  g_ptr_array_unref (domain->nics);
  g_ptr_array_unref (domain->cdroms);
  g_free (domain->windows);
  g_free (domain);
}

void
h2k_domain_add_disk (H2kDomain *domain, const char *path, const char *format, H2kBus bus)
{
  H2kDomainDisk *disk = g_new0 (H2kDomainDisk, 1);

  disk->path = g_canonicalize_filename (path, NULL);
  disk->format = g_strdup (format);
  disk->bus = bus;
  disk->place = domain->disks->len;
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

void
h2k_domain_add_cdrom (H2kDomain *domain, const char *path)
{
  g_ptr_array_add (domain->cdroms, g_canonicalize_filename (path, NULL));
}

/* RFC 4122, version 5 in form: the same VM gets the same UUID each time it is converted. */
char *
h2k_domain_get_uuid (const H2kDomain *domain)
{
  g_autoptr (GChecksum) sum = NULL;
  guint8 b[20];
  gsize length = sizeof b;

  if (domain->uuid != NULL)
    return g_strdup (domain->uuid);
  sum = g_checksum_new (G_CHECKSUM_SHA1);
  g_checksum_update (sum, (const guchar *)domain->name, (gssize)strlen (domain->name) + 1);
  for (guint i = 0; i < domain->disks->len; i++)
    {
      const char *path = ((H2kDomainDisk *)g_ptr_array_index (domain->disks, i))->path;

      g_checksum_update (sum, (const guchar *)path, (gssize)strlen (path) + 1);
    }
  g_checksum_get_digest (sum, b, &length);
  b[6] = (guint8)((b[6] & 0x0f) | 0x50);
  b[8] = (guint8)((b[8] & 0x3f) | 0x80);
  return g_strdup_printf ("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                          b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                          b[12], b[13], b[14], b[15]);
}

gboolean
h2k_domain_is_i440fx (const H2kDomain *domain)
{
  gboolean wanted = domain->i440fx;

  for (guint i = 0; i < domain->disks->len; i++)
    wanted |= ((H2kDomainDisk *)g_ptr_array_index (domain->disks, i))->bus == H2K_BUS_IDE;
  return wanted && strcmp (h2k_arch_get (domain->arch)->libvirt, "x86_64") == 0;
}

const char *
h2k_domain_machine (const H2kDomain *domain)
{
  return h2k_domain_is_i440fx (domain) ? "pc" : h2k_arch_get (domain->arch)->machine;
}

void
h2k_domain_fix_macs (H2kDomain *domain)
{
  g_autofree char *uuid = h2k_domain_get_uuid (domain);

  for (guint i = 0; i < domain->nics->len; i++)
    {
      H2kDomainNic *nic = g_ptr_array_index (domain->nics, i);
      g_autofree char *text = g_strdup_printf ("%s nic %u", uuid, i);
      g_autofree char *digest = g_compute_checksum_for_string (G_CHECKSUM_SHA256, text, -1);

      /* QEMU's prefix, as libvirt makes them. */
      if (nic->mac == NULL)
        nic->mac = g_strdup_printf ("52:54:00:%.2s:%.2s:%.2s", digest, digest + 2, digest + 4);
    }
}
