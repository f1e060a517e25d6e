/* define.c - the definition of a migrated VM, from what the user says, what the description of the
 * exported VM says, and what the guest is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"
#include "repair/windows/session.h"

/* What the networks were called: of the NIC with the same MAC, or the same place. */
static void
name_networks (const H2kVm *vm, H2kDomain *domain)
{
  for (guint i = 0; i < domain->nics->len; i++)
    {
      H2kDomainNic *nic = domain->nics->pdata[i];
      const H2kVmNic *found = NULL;

      for (guint n = 0; n < vm->nics->len && !found; n++)
        {
          const H2kVmNic *known = vm->nics->pdata[n];
          if (nic->mac && known->mac ? g_ascii_strcasecmp (nic->mac, known->mac) == 0 : n == i)
            found = known;
        }
      nic->was = g_strdup (found ? found->network : NULL);
    }
}

/* A Windows that gets no driver for VirtIO's has one for another NIC. */
static void
choose_models (const H2kDefinition *d, H2kDomain *domain)
{
  gboolean has_driver = (d->repairs && h2k_windows_gets_network_driver (d->repairs))
                        || g_ptr_array_find_with_equal_func (d->guest->windows->virtio, "netkvm",
                                                             g_str_equal, NULL);

  for (guint i = 0; !has_driver && i < domain->nics->len; i++)
    ((H2kDomainNic *)domain->nics->pdata[i])->model = h2k_domain_windows_nic (domain->windows);
}

static void
add_nics (const H2kDefinition *d, H2kDomain *domain)
{
  if (d->repairs && d->repairs->nics->len)
    for (guint i = 0; i < d->repairs->nics->len; i++)
      h2k_domain_add_nic (domain, ((H2kNic *)d->repairs->nics->pdata[i])->mac, NULL);
  else if (d->macs->len)
    for (guint i = 0; i < d->macs->len; i++)
      h2k_domain_add_nic (domain, d->macs->pdata[i], NULL);
  else
    h2k_domain_add_nic (domain, NULL, NULL);
  if (d->vm)
    name_networks (d->vm, domain);
  if (domain->windows)
    {
      choose_models (d, domain);
      h2k_domain_fix_macs (domain);
    }
}

/* What has to be there to start, whoever put it there. */
static void
check_disk_driver (const H2kDefinition *d, GPtrArray *warnings)
{
  const char *driver = d->options->bus == H2K_BUS_VIRTIO_BLK    ? "viostor"
                       : d->options->bus == H2K_BUS_VIRTIO_SCSI ? "vioscsi"
                                                                : NULL;

  if (!driver || !d->guest || !d->guest->windows || d->options->repairs & H2K_REPAIR_VIRTIO
      || g_ptr_array_find_with_equal_func (d->guest->windows->virtio, driver, g_str_equal, NULL))
    return;
  g_ptr_array_add (warnings,
                   g_strdup_printf ("this Windows has no driver %s for the disks of its "
                                    "definition, and none was put into it, as was asked for: it "
                                    "will not start from them; choose --bus sata or ide, or put "
                                    "the driver in (--inject-virtio)",
                                    driver));
}

/* What the options say, else the description, else a modest default. */
static void
define_size (const H2kDefinition *d, H2kDomain *domain)
{
  guint64 memory = d->options->memory_mib;

  if (!memory && d->vm)
    memory = d->vm->memory_mib;
  domain->memory_mib = memory                          ? (guint)MIN (memory, G_MAXINT)
                       : d->guest && d->guest->windows ? 4096
                                                       : 2048;
  domain->vcpus = d->options->vcpus ? d->options->vcpus : d->vm && d->vm->vcpus ? d->vm->vcpus : 2;
  if (d->vm && d->vm->firmware != H2K_VM_FIRMWARE_UNKNOWN)
    domain->firmware
        = d->vm->firmware == H2K_VM_FIRMWARE_UEFI ? H2K_FIRMWARE_UEFI : H2K_FIRMWARE_BIOS;
}

static gboolean
has_program (const char *name)
{
  g_autofree char *path = g_find_program_in_path (name);

  return path != NULL;
}

/* Secure Boot and the TPM are what the description says; whether the host has what they take is
 * seen when the VM is started, so it is said now. The boot test does without both. */
static void
define_security (const H2kDefinition *d, H2kDomain *domain, GPtrArray *warnings)
{
  domain->secure_boot = d->vm && d->vm->secure_boot;
  domain->tpm = d->tpm || (d->vm && d->vm->has_tpm);
  if (domain->secure_boot && !h2k_domain_is_secure (domain))
    g_ptr_array_add (warnings, g_strdup ("the VM had Secure Boot, but its disks do not boot by "
                                         "UEFI: the definition is without"));
  if (domain->tpm && !has_program ("swtpm"))
    g_ptr_array_add (warnings,
                     g_strdup ("the definition has a TPM, and this host has no swtpm to emulate "
                               "it: install the package swtpm before the VM is started"));
  if (d->options->boot_test != H2K_BOOT_TEST_NONE && (domain->tpm || h2k_domain_is_secure (domain)))
    g_message ("the boot test runs without Secure Boot and TPM, which need nothing of the disks");
}

static void
define_guest (const H2kGuest *guest, H2kDomain *domain)
{
  domain->firmware = guest->firmware;
  domain->description
      = g_strdup_printf ("%s, migrated by hyper2kvm %s", guest->pretty_name, h2k_version ());
  if (!g_str_equal (guest->arch, "unknown"))
    {
      g_free (domain->arch);
      domain->arch = g_strdup (guest->arch);
    }
  if (guest->windows)
    {
      h2k_domain_take_windows (domain, guest->windows);
      if (guest->windows->max_vcpus)
        domain->vcpus = MIN (domain->vcpus, guest->windows->max_vcpus);
    }
  else
    domain->osinfo_id = h2k_domain_osinfo_id (guest->distro, guest->version);
}

/* The logical sectors of disk DISK as the guest knows them. */
static guint32
sector_size_of (const H2kDefinition *d, guint i)
{
  H2kDisk *source = d->sources->pdata[i];
  g_autoptr (H2kTable) table = h2k_table_read (source, NULL);

  return MAX (source->sector_size, table ? table->sector_size : 0);
}

/* Larger sectors than QEMU gives a disk by itself: its partition table counts in them. */
static void
define_sectors (const H2kDefinition *d, guint i, H2kDomain *domain, GPtrArray *warnings)
{
  H2kDomainDisk *disk = domain->disks->pdata[i];
  guint32 size = sector_size_of (d, i);
  const char *why = NULL;

  if (size <= 512)
    return;
  if (disk->bus == H2K_BUS_IDE || disk->bus == H2K_BUS_SATA)
    why = "disks on IDE and SATA have sectors of 512 bytes, so the VM will find nothing on it: "
          "choose --bus virtio-blk or virtio-scsi";
  else
    disk->logical_block = disk->physical_block = size;
  if (!why && i == 0 && domain->firmware != H2K_FIRMWARE_UEFI)
    why = "without an EFI system partition there is no firmware that starts a VM from it";
  if (why)
    g_ptr_array_add (warnings,
                     g_strdup_printf ("%s has sectors of %u bytes: %s",
                                      ((H2kDisk *)d->sources->pdata[i])->name, size, why));
}

H2kDomain *
h2k_define (const H2kDefinition *d, GPtrArray *warnings)
{
  H2kDomain *domain = h2k_domain_new (d->name);

  define_size (d, domain);
  if (d->guest)
    define_guest (d->guest, domain);
  for (guint i = 0; i < d->disks->len; i++)
    {
      g_autofree char *path = g_canonicalize_filename (d->disks->pdata[i], NULL);
      h2k_domain_add_disk (domain, path, d->options->output_format, d->options->bus);
      define_sectors (d, i, domain, warnings);
    }
  define_security (d, domain, warnings);
  check_disk_driver (d, warnings);
  add_nics (d, domain);
  return domain;
}
