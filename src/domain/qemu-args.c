/* qemu-args.c - QEMU's command line for a domain: the same hardware as the libvirt XML describes.
 *
 * Follows qemu-system(1). Disks are -blockdev, which takes file names literally: with -drive a name
 * such as "nbd:..." or "a:b.qcow2" would be taken for a protocol.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"
#include "domain/firmware.h"
#include "domain/qemu.h"

typedef struct
{
  GPtrArray *args;
  const H2kDomain *domain;
  const H2kArch *arch;
  const H2kQemuSetup *setup;
  gboolean i440fx;
  guint ports; /* root ports made so far */
} Builder;

char *
h2k_qemu_quote (const char *text)
{
  GString *out = g_string_new (NULL);

  for (; *text != '\0'; text++)
    {
      g_string_append_c (out, *text);
      if (*text == ',')
        g_string_append_c (out, ',');
    }
  return g_string_free (out, FALSE);
}

static void add (Builder *b, const char *option, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* Add OPTION with the value made from FORMAT. */
static void
add (Builder *b, const char *option, const char *format, ...)
{
  va_list ap;

  g_ptr_array_add (b->args, g_strdup (option));
  va_start (ap, format);
  g_ptr_array_add (b->args, g_strdup_vprintf (format, ap));
  va_end (ap);
}

/* ",bus=..." for the next PCI device. Behind a root port of its own, as libvirt does it: virtio
 * devices are then modern-only, and the guest sees the same kind of topology as in production. */
static char *
next_bus (Builder *b)
{
  guint n = b->ports;

  /* From slot 2 on, as libvirt does it: QEMU's own VGA, if there is one, is in slot 1. 14 slots
   * with eight functions each hold more ports than a domain has devices. */
  if (!b->arch->root_ports || b->i440fx || n >= 14 * 8)
    return g_strdup ("");
  b->ports++;
  add (b, "-device", "pcie-root-port,id=port%u,chassis=%u,bus=pcie.0,addr=0x%x.%u%s", n, n + 1,
       n / 8 + 2, n % 8, n % 8 == 0 ? ",multifunction=on" : "");
  return g_strdup_printf (",bus=port%u", n);
}

static void
add_machine (Builder *b)
{
  g_autofree char *name = h2k_qemu_quote (b->domain->name);

  add (b, "-name", "guest=%s", name);
  add (b, "-machine", "%s", h2k_domain_machine (b->domain));
  /* "max" is the host's CPU under KVM and everything that can be emulated without it. */
  add (b, "-cpu", "max");
  add (b, "-m", "%uM", b->domain->memory_mib);
  add (b, "-smp", "%u", b->domain->vcpus);
  if (b->setup->uefi_code != NULL)
    {
      g_autofree char *code = h2k_qemu_quote (b->setup->uefi_code);
      g_autofree char *vars = h2k_qemu_quote (b->setup->uefi_vars);
      const char *code_format = g_str_has_suffix (code, ".qcow2") ? "qcow2" : "raw";
      const char *vars_format = g_str_has_suffix (vars, ".qcow2") ? "qcow2" : "raw";

      add (b, "-drive", "if=pflash,unit=0,format=%s,readonly=on,file=%s", code_format, code);
      add (b, "-drive", "if=pflash,unit=1,format=%s,file=%s", vars_format, vars);
    }
}

static void
add_nic (Builder *b, guint i, const H2kDomainNic *nic)
{
  g_autofree char *bus = next_bus (b);
  g_autofree char *mac = nic->mac == NULL ? g_strdup ("") : g_strconcat (",mac=", nic->mac, NULL);

  /* A throw-away copy has the production system's identity and credentials: it must not reach the
   * real network. restrict=on leaves DHCP and router advertisements, which is what is tested. */
  add (b, "-netdev", "user,id=net%u%s", i, b->setup->throwaway ? ",restrict=on" : "");
  add (b, "-device", "virtio-net-%s,netdev=net%u%s%s", b->arch->transport, i, mac, bus);
}

static gboolean
has_ahci (const Builder *b)
{
  return b->arch->ide && !b->i440fx;
}

/* The controller that disk number COUNT of BUS needs and that is not there yet. */
static void
add_controller (Builder *b, H2kBus bus, guint count)
{
  g_autofree char *pci = NULL;

  if (bus == H2K_BUS_VIRTIO_SCSI && count == 0)
    {
      pci = next_bus (b);
      add (b, "-device", "virtio-scsi-%s,id=scsi0%s", b->arch->transport, pci);
    }
  /* The q35 chipset's own controller is "ide", with six ports. */
  if (bus == H2K_BUS_SATA && count % 6 == 0 && (count > 0 || !has_ahci (b)))
    {
      pci = next_bus (b);
      add (b, "-device", "ich9-ahci,id=ahci%u%s", count / 6, pci);
    }
}

static void
add_blockdev (Builder *b, guint i, const H2kDomainDisk *disk)
{
  g_autofree char *path = h2k_qemu_quote (disk->path);

  add (b, "-blockdev", "driver=%s,node-name=disk%u,discard=unmap%s,file.driver=%s,file.filename=%s",
       disk->format, i, b->setup->throwaway ? ",cache.no-flush=on" : "",
       h2k_domain_disk_is_device (disk) ? "host_device" : "file", path);
}

/* Disk I, the COUNTth on its bus. */
static void
add_disk (Builder *b, guint i, guint count, const H2kDomainDisk *disk)
{
  g_autofree char *pci = NULL;

  add_blockdev (b, i, disk);
  add_controller (b, disk->bus, count);
  switch (disk->bus)
    {
    case H2K_BUS_VIRTIO_BLK:
      pci = next_bus (b);
      add (b, "-device", "virtio-blk-%s,drive=disk%u,bootindex=%u%s", b->arch->transport, i, i + 1,
           pci);
      break;
    case H2K_BUS_VIRTIO_SCSI:
      add (b, "-device", "scsi-hd,drive=disk%u,bus=scsi0.0,channel=0,scsi-id=0,lun=%u,bootindex=%u",
           i, count, i + 1);
      break;
    case H2K_BUS_SATA:
      if (count < 6 && has_ahci (b))
        add (b, "-device", "ide-hd,drive=disk%u,bus=ide.%u,bootindex=%u", i, count, i + 1);
      else
        add (b, "-device", "ide-hd,drive=disk%u,bus=ahci%u.%u,bootindex=%u", i, count / 6,
             count % 6, i + 1);
      break;
    case H2K_BUS_IDE:
      add (b, "-device", "ide-hd,drive=disk%u,bus=ide.%u,unit=%u,bootindex=%u", i, count / 2,
           count % 2, i + 1);
      break;
    }
}

GPtrArray *
h2k_qemu_args (const H2kDomain *domain, const H2kQemuSetup *setup)
{
  Builder b = {.args = g_ptr_array_new_with_free_func (g_free),
               .domain = domain,
               .arch = h2k_arch_get (domain->arch),
               .setup = setup,
               .i440fx = h2k_domain_is_i440fx (domain)};
  guint on_bus[H2K_BUS_IDE + 1] = {0};
  g_autofree char *bus = NULL;

  add_machine (&b);
  /* NICs first, as libvirt places them: the first one is the guest's enp1s0. */
  for (guint i = 0; i < domain->nics->len; i++)
    add_nic (&b, i, g_ptr_array_index (domain->nics, i));
  for (guint i = 0; i < domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);

      add_disk (&b, i, on_bus[disk->bus]++, disk);
    }
  bus = next_bus (&b);
  add (&b, "-object", "rng-random,id=rng0,filename=/dev/urandom");
  add (&b, "-device", "virtio-rng-%s,rng=rng0%s", b.arch->transport, bus);
  return b.args;
}

GPtrArray *
h2k_domain_qemu_args (const H2kDomain *domain, const char *uefi_code, const char *uefi_vars)
{
  H2kQemuSetup setup = {.uefi_code = uefi_code, .uefi_vars = uefi_vars};

  return h2k_qemu_args (domain, &setup);
}

/* ARG for a shell, quoted only where it has to be. */
static char *
shell_word (const char *arg)
{
  static const char plain[]
      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%";

  return *arg != '\0' && arg[strspn (arg, plain)] == '\0' ? g_strdup (arg) : g_shell_quote (arg);
}

char *
h2k_domain_qemu_command (const H2kDomain *domain)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);
  gboolean uefi = domain->firmware == H2K_FIRMWARE_UEFI || arch->always_uefi;
  g_autoptr (H2kUefiFiles) files = uefi ? h2k_uefi_find ("", arch->libvirt, NULL) : NULL;
  g_autofree char *vars = NULL;
  g_autoptr (GPtrArray) args = NULL;
  GString *command = g_string_new (NULL);

  if (uefi)
    {
      /* The VM's variables live beside its first disk. */
      const H2kDomainDisk *disk
          = domain->disks->len > 0 ? g_ptr_array_index (domain->disks, 0) : NULL;
      const char *template = files != NULL ? files->vars : "/usr/share/OVMF/OVMF_VARS_4M.fd";
      g_autofree char *from = shell_word (template);
      g_autofree char *to = NULL;

      vars = g_strconcat (disk != NULL ? disk->path : domain->name, "-vars",
                          g_str_has_suffix (template, ".qcow2") ? ".qcow2" : ".fd", NULL);
      to = shell_word (vars);
      g_string_append_printf (command, "cp -n %s %s && ", from, to);
    }
  args = h2k_domain_qemu_args (domain,
                               !uefi           ? NULL
                               : files != NULL ? files->code
                                               : "/usr/share/OVMF/OVMF_CODE_4M.fd",
                               vars);
  g_string_append_printf (command, "%s -accel kvm -accel tcg", arch->emulator);
  for (guint i = 0; i < args->len; i++)
    {
      g_autofree char *word = shell_word (g_ptr_array_index (args, i));

      g_string_append_printf (command, "%s%s", *word == '-' ? " \\\n  " : " ", word);
    }
  g_string_append (command, " \\\n  -nographic");
  return g_string_free (command, FALSE);
}
