/* qemu-args.c - QEMU's command line for a domain: the same hardware as the libvirt XML describes.
 *
 * Follows qemu-system(1). Disks are -blockdev, which takes file names literally: with -drive a name
 * such as "nbd:..." or "a:b.qcow2" would be taken for a protocol.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"
#include "domain/firmware.h"
#include "domain/places.h"
#include "domain/qemu.h"
#include "domain/windows.h"

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

static void
add_port (Builder *b, guint n)
{
  H2kPci pci = h2k_place_port (n);

  add (b, "-device", "pcie-root-port,id=port%u,chassis=%u,bus=pcie.0,addr=0x%x.%u%s", n, n + 1,
       pci.slot, pci.function, pci.function == 0 ? ",multifunction=on" : "");
}

/* ",bus=..." for the next PCI device. Behind a root port of its own, as libvirt does it: virtio
 * devices are then modern-only, and the guest sees the same kind of topology as in production. */
static char *
next_bus (Builder *b)
{
  guint n = b->ports;

  if (!b->arch->root_ports || b->i440fx || n >= H2K_MAX_PORTS)
    return g_strdup ("");
  b->ports++;
  add_port (b, n);
  return g_strdup_printf (",bus=port%u", n);
}

/* ",bus=..." for the device whose place is PCI. */
static char *
bus_of (Builder *b, H2kPci pci)
{
  if (!pci.pinned)
    return next_bus (b);
  if (pci.bus > 0)
    return g_strdup_printf (",bus=port%u", pci.bus - 1);
  return g_strdup_printf (",bus=%s,addr=0x%x.%u", b->i440fx ? "pci.0" : "pcie.0", pci.slot,
                          pci.function);
}

static void
add_ports (Builder *b)
{
  guint n = h2k_place_ports (b->domain);

  for (; b->ports < n; b->ports++)
    add_port (b, b->ports);
}

/* "max" is the host's CPU under KVM and everything that can be emulated without it. */
static void
add_cpu (Builder *b)
{
  g_autoptr (GString) cpu = g_string_new ("max");
  const H2kEnlightenment *feature;
  const char *accel = b->setup->accel;
  guint n = h2k_domain_vcpus (b->domain);

  for (guint i = 0; (feature = h2k_windows_enlightenment (b->domain, i)) != NULL; i++)
    if (feature->kvm_only ? g_strcmp0 (accel, "kvm") == 0 : g_strcmp0 (accel, "tcg") != 0)
      g_string_append_printf (cpu, ",%s", feature->qemu);
  /* By this Windows tells its stop code. Not for production: no crash dump is written then. */
  if (cpu->len > strlen ("max") && b->setup->throwaway && g_strcmp0 (accel, "kvm") == 0)
    g_string_append (cpu, ",hv_crash=on");
  add (b, "-cpu", "%s", cpu->str);
  add (b, "-m", "%uM", b->domain->memory_mib);
  if (b->domain->windows != NULL)
    add (b, "-smp", "%u,sockets=1,cores=%u,threads=1", n, n);
  else
    add (b, "-smp", "%u", n);
}

/* As the XML has it for libvirt. */
static void
add_clock (Builder *b)
{
  gboolean x86 = strcmp (b->arch->libvirt, "x86_64") == 0;

  if (b->domain->windows != NULL)
    add (b, "-rtc", "base=%s%s", b->domain->windows->rtc_utc ? "utc" : "localtime",
         x86 ? ",driftfix=slew" : "");
}

static void
add_machine (Builder *b)
{
  g_autofree char *name = h2k_qemu_quote (b->domain->name);
  gboolean x86 = strcmp (b->arch->libvirt, "x86_64") == 0;

  add (b, "-name", "guest=%s", name);
  add (b, "-machine", "%s%s", h2k_domain_machine (b->domain),
       b->domain->windows != NULL && x86 ? ",hpet=off" : "");
  add_cpu (b);
  add_clock (b);
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

static const char *const nic_models[] = {
    [H2K_NIC_E1000E] = "e1000e",
    [H2K_NIC_E1000] = "e1000",
    [H2K_NIC_RTL8139] = "rtl8139",
};

static void
add_nic (Builder *b, guint i)
{
  const H2kDomainNic *nic = g_ptr_array_index (b->domain->nics, i);
  g_autofree char *bus = bus_of (b, h2k_place_nic (b->domain, i));
  g_autofree char *virtio = g_strdup_printf ("virtio-net-%s", b->arch->transport);
  g_autofree char *mac = nic->mac == NULL ? g_strdup ("") : g_strconcat (",mac=", nic->mac, NULL);

  /* A throw-away copy has the production system's identity and credentials: it must not reach the
   * real network. restrict=on leaves DHCP and router advertisements, which is what is tested. */
  add (b, "-netdev", "user,id=net%u%s", i, b->setup->throwaway ? ",restrict=on" : "");
  add (b, "-device", "%s,netdev=net%u%s%s",
       nic->model == H2K_NIC_VIRTIO ? virtio : nic_models[nic->model], i, mac, bus);
}

static gboolean
has_ahci (const Builder *b)
{
  return b->arch->ide && !b->i440fx;
}

/* The q35 chipset's own controller is "ide", with six ports. */
static void
add_ahci (Builder *b, guint count)
{
  g_autofree char *pci = NULL;

  if (count % 6 != 0 || (count == 0 && has_ahci (b)))
    return;
  pci = next_bus (b);
  add (b, "-device", "ich9-ahci,id=ahci%u%s", count / 6, pci);
}

/* The controller that DISK, number COUNT on its bus, needs and that is not there yet. */
static void
add_controller (Builder *b, const H2kDomainDisk *disk, guint count)
{
  g_autofree char *pci = NULL;

  if (disk->bus == H2K_BUS_VIRTIO_SCSI && count == 0)
    {
      pci = bus_of (b, h2k_place_disk (b->domain, disk));
      add (b, "-device", "virtio-scsi-%s,id=scsi0%s", b->arch->transport, pci);
    }
  if (disk->bus == H2K_BUS_SATA)
    add_ahci (b, count);
}

/* The key as an object, and the options for it: of the image itself, and of all that are below it,
 * which therefore have to be described, too. QEMU finds what the last one builds on. */
static char *
encryption_of (Builder *b, guint i, const H2kDomainLuks *luks)
{
  g_autoptr (GString) options = g_string_new (NULL);
  g_autoptr (GString) prefix = g_string_new (NULL);
  g_autofree char *file = NULL;

  if (luks == NULL)
    return g_strdup ("");
  file = h2k_qemu_quote (luks->key_file);
  add (b, "-object", "secret,id=key%u,file=%s", i, file);
  g_string_append_printf (options, ",encrypt.format=luks,encrypt.key-secret=key%u", i);
  for (guint n = 0; n < luks->below->len; n++)
    {
      g_autofree char *path = h2k_qemu_quote (luks->below->pdata[n]);
      const char *at;

      at = g_string_append (prefix, "backing.")->str;
      g_string_append_printf (options, ",%sdriver=qcow2,%sfile.driver=file,%sfile.filename=%s", at,
                              at, at, path);
      g_string_append_printf (options, ",%sencrypt.format=luks,%sencrypt.key-secret=key%u", at, at,
                              i);
    }
  return g_strdup (options->str);
}

static void
add_blockdev (Builder *b, guint i, const H2kDomainDisk *disk)
{
  g_autofree char *path = h2k_qemu_quote (disk->path);
  g_autofree char *encryption = encryption_of (b, i, disk->luks);

  add (b, "-blockdev",
       "driver=%s,node-name=disk%u,discard=unmap%s%s,file.driver=%s,file.filename=%s%s",
       disk->format, i, b->setup->throwaway ? ",cache.no-flush=on" : "",
       disk->direct ? ",cache.direct=on,file.cache.direct=on" : "",
       h2k_domain_disk_is_device (disk) ? "host_device" : "file", path, encryption);
}

/* What the guest is told of the disk's sectors. */
static char *
sectors_of (const H2kDomainDisk *disk)
{
  if (disk->logical_block == 0 || disk->physical_block == 0)
    return g_strdup ("");
  return g_strdup_printf (",logical_block_size=%u,physical_block_size=%u", disk->logical_block,
                          disk->physical_block);
}

/* "bus=..." of drive number COUNT on BUS, which is SATA or IDE. */
static char *
ata_port (const Builder *b, H2kBus bus, guint count)
{
  if (bus == H2K_BUS_IDE)
    return g_strdup_printf ("bus=ide.%u,unit=%u", count / 2, count % 2);
  if (count < 6 && has_ahci (b))
    return g_strdup_printf ("bus=ide.%u", count);
  return g_strdup_printf ("bus=ahci%u.%u", count / 6, count % 6);
}

/* Disk I, the COUNTth on its bus. */
static void
add_disk (Builder *b, guint i, guint count)
{
  const H2kDomainDisk *disk = g_ptr_array_index (b->domain->disks, i);
  g_autofree char *sectors = sectors_of (disk);
  g_autofree char *pci = NULL;

  add_blockdev (b, i, disk);
  add_controller (b, disk, count);
  switch (disk->bus)
    {
    case H2K_BUS_VIRTIO_BLK:
      pci = bus_of (b, h2k_place_disk (b->domain, disk));
      add (b, "-device", "virtio-blk-%s,drive=disk%u,bootindex=%u%s%s", b->arch->transport, i,
           i + 1, sectors, pci);
      break;
    case H2K_BUS_VIRTIO_SCSI:
      add (b, "-device",
           "scsi-hd,drive=disk%u,bus=scsi0.0,channel=0,scsi-id=0,lun=%u,bootindex=%u%s", i, count,
           i + 1, sectors);
      break;
    case H2K_BUS_SATA:
    case H2K_BUS_IDE:
      pci = ata_port (b, disk->bus, count);
      add (b, "-device", "ide-hd,drive=disk%u,%s,bootindex=%u%s", i, pci, i + 1, sectors);
      break;
    }
}

/* CD-ROM I, the COUNTth on its bus. */
static void
add_cdrom (Builder *b, guint i, guint count)
{
  H2kBus bus = b->i440fx ? H2K_BUS_IDE : H2K_BUS_SATA;
  g_autofree char *path = h2k_qemu_quote (g_ptr_array_index (b->domain->cdroms, i));
  g_autofree char *port = ata_port (b, bus, count);

  if (bus == H2K_BUS_SATA)
    add_ahci (b, count);
  add (b, "-blockdev",
       "driver=raw,node-name=cdrom%u,read-only=on,file.driver=file,file.filename=%s", i, path);
  add (b, "-device", "ide-cd,drive=cdrom%u,%s", i, port);
}

static void
add_disks (Builder *b)
{
  guint on_bus[H2K_BUS_IDE + 1] = {0};

  for (guint i = 0; i < b->domain->disks->len; i++)
    add_disk (b, i, on_bus[((H2kDomainDisk *)g_ptr_array_index (b->domain->disks, i))->bus]++);
  for (guint i = 0; i < b->domain->cdroms->len; i++)
    add_cdrom (b, i, on_bus[b->i440fx ? H2K_BUS_IDE : H2K_BUS_SATA]++);
}

/* The controller "usb", its ports "usb.0". */
static void
add_usb (Builder *b)
{
  g_autofree char *bus = bus_of (b, h2k_place_device (b->domain, H2K_PLACE_USB));

  if (h2k_windows_has_xhci (b->domain->windows))
    add (b, "-device", "qemu-xhci,id=usb%s", bus);
  else if (b->i440fx)
    add (b, "-device", "piix3-usb-uhci,id=usb,bus=pci.0,addr=0x1.2");
  else
    {
      add (b, "-device", "ich9-usb-ehci1,id=usb,bus=pcie.0,addr=0x1d.7");
      for (guint i = 0; i < 3; i++)
        add (b, "-device", "ich9-usb-uhci%u,masterbus=usb.0,firstport=%u,bus=pcie.0,addr=0x1d.%u%s",
             i + 1, i * 2, i, i == 0 ? ",multifunction=on" : "");
    }
  add (b, "-device", "usb-tablet,bus=usb.0");
}

/* What Windows looks for new drivers for when it is missing in one phase. */
static void
add_windows_devices (Builder *b)
{
  g_autofree char *serial = bus_of (b, h2k_place_device (b->domain, H2K_PLACE_SERIAL));
  g_autofree char *balloon = bus_of (b, h2k_place_device (b->domain, H2K_PLACE_BALLOON));

  add_usb (b);
  add (b, "-device", "virtio-serial-%s%s", b->arch->transport, serial);
  add (b, "-device", "virtio-balloon-%s%s", b->arch->transport, balloon);
  if (strcmp (b->arch->libvirt, "x86_64") != 0)
    {
      add (b, "-device", "usb-kbd,bus=usb.0");
      add (b, "-device", "ramfb");
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
  g_autofree char *bus = NULL;

  add_machine (&b);
  add_ports (&b);
  /* NICs first, as libvirt places them: the first one is the guest's enp1s0. */
  for (guint i = 0; i < domain->nics->len; i++)
    add_nic (&b, i);
  add_disks (&b);
  if (domain->windows != NULL)
    add_windows_devices (&b);
  bus = bus_of (&b, h2k_place_device (domain, H2K_PLACE_RNG));
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
  /* A Linux guest speaks on its serial console. Windows is seen on its screen, which is where the
   * XML has it; its serial port has what the first-boot service reports. */
  g_string_append (command, domain->windows != NULL
                                ? " \\\n  -vnc 127.0.0.1:0,to=99 \\\n  -serial mon:stdio"
                                : " \\\n  -nographic");
  return g_string_free (command, FALSE);
}
