/* xml.c - the libvirt definition of a domain.
 *
 * Follows libvirt's "Domain XML format". Where libvirt leaves a choice, it is made as virt-install
 * makes it for a new Linux guest today, so that an imported VM behaves like one installed here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"
#include "domain/places.h"
#include "domain/windows.h"

#include <libxml/tree.h>

#define LIBOSINFO_NS "http://libosinfo.org/xmlns/libvirt/domain/1.0"

/* libvirt uses the name in file names and refuses '/' and newlines; spaces and shell characters
 * are allowed there and a nuisance everywhere else. */
static char *
clean_name (const char *name)
{
  g_autofree char *valid = g_utf8_make_valid (name == NULL ? "" : name, -1);
  GString *out = g_string_new (NULL);

  for (const char *p = valid; *p != '\0' && out->len < 100; p = g_utf8_next_char (p))
    {
      gunichar c = g_utf8_get_char (p);

      if (g_unichar_isalnum (c) || (c < 128 && strchr ("._+-", (int)c) != NULL))
        g_string_append_unichar (out, c);
      else
        g_string_append_c (out, '-');
    }
  /* Not hidden, not an option, not "." or "..". */
  while (out->len > 0 && strchr (".-+", out->str[0]) != NULL)
    g_string_erase (out, 0, 1);
  if (out->len == 0)
    g_string_append (out, "vm");
  return g_string_free (out, FALSE);
}

/* XML 1.0 has no way to write most control characters, not even escaped. */
static char *
clean_text (const char *text)
{
  return h2k_escape_text (text, -1);
}

/* A file name has to be written as it is; one that XML cannot hold cannot be in a definition, and
 * its visible form at least says which file was meant. */
static char *
clean_path (const char *path)
{
  return h2k_escape_text (path, -1);
}

static xmlNode *element (xmlNode *parent, const char *name, ...) G_GNUC_NULL_TERMINATED;

/* A new child element with attributes: name, value pairs, ended by NULL. A NULL value leaves its
 * attribute out. */
static xmlNode *
element (xmlNode *parent, const char *name, ...)
{
  xmlNode *node = xmlNewChild (parent, NULL, BAD_CAST name, NULL);
  const char *attribute;
  va_list ap;

  va_start (ap, name);
  while ((attribute = va_arg (ap, const char *)) != NULL)
    {
      const char *value = va_arg (ap, const char *);

      if (value != NULL)
        xmlNewProp (node, BAD_CAST attribute, BAD_CAST value);
    }
  va_end (ap);
  return node;
}

static xmlNode *
text_element (xmlNode *parent, const char *name, const char *text)
{
  return xmlNewTextChild (parent, NULL, BAD_CAST name, BAD_CAST text);
}

static void
number_element (xmlNode *parent, const char *name, const char *unit, guint value)
{
  g_autofree char *text = g_strdup_printf ("%u", value);
  xmlNode *node = text_element (parent, name, text);

  if (unit != NULL)
    xmlNewProp (node, BAD_CAST "unit", BAD_CAST unit);
}

static void
add_identity (xmlNode *root, const H2kDomain *domain)
{
  g_autofree char *name = clean_name (domain->name);
  g_autofree char *uuid = h2k_domain_get_uuid (domain);

  text_element (root, "name", name);
  text_element (root, "uuid", uuid);
  if (domain->description != NULL)
    {
      g_autofree char *text = clean_text (domain->description);

      text_element (root, "description", text);
    }
  if (domain->osinfo_id != NULL)
    {
      xmlNode *metadata = element (root, "metadata", NULL);
      xmlNode *info = xmlNewChild (metadata, NULL, BAD_CAST "libosinfo", NULL);
      xmlNs *ns = xmlNewNs (info, BAD_CAST LIBOSINFO_NS, BAD_CAST "libosinfo");
      xmlNode *os;

      xmlSetNs (info, ns);
      os = xmlNewChild (info, ns, BAD_CAST "os", NULL);
      xmlNewProp (os, BAD_CAST "id", BAD_CAST domain->osinfo_id);
    }
}

static void
add_os (xmlNode *root, const H2kDomain *domain, const H2kArch *arch)
{
  gboolean uefi = domain->firmware == H2K_FIRMWARE_UEFI || arch->always_uefi;
  xmlNode *os = element (root, "os", "firmware", uefi ? "efi" : NULL, NULL);
  xmlNode *type = text_element (os, "type", "hvm");

  xmlNewProp (type, BAD_CAST "arch", BAD_CAST arch->libvirt);
  xmlNewProp (type, BAD_CAST "machine", BAD_CAST h2k_domain_machine (domain));
  /* Without Secure Boot signed and unsigned boot loaders start alike. Left open, libvirt may take
   * firmware with enrolled keys, and a guest with its own kernel or modules would not boot. */
  if (uefi && strcmp (arch->libvirt, "x86_64") == 0)
    {
      const char *enabled = h2k_domain_is_secure (domain) ? "yes" : "no";
      xmlNode *firmware = element (os, "firmware", NULL);

      element (firmware, "feature", "enabled", enabled, "name", "enrolled-keys", NULL);
      element (firmware, "feature", "enabled", enabled, "name", "secure-boot", NULL);
      if (h2k_domain_is_secure (domain))
        element (os, "loader", "secure", "yes", NULL);
    }
  if (uefi && domain->nvram != NULL)
    {
      g_autofree char *path = clean_path (domain->nvram);

      text_element (os, "nvram", path);
    }
}

static void
add_cpu (xmlNode *root, const H2kDomain *domain, gboolean x86)
{
  /* The whole of the host's CPU, or of what can be emulated: the guest comes from other hardware
   * anyway, and it needs no less than it had. migratable leaves out what would bind the running VM
   * to this host. */
  xmlNode *cpu = element (root, "cpu", "mode", domain->emulated ? "maximum" : "host-passthrough",
                          "check", "none", "migratable", x86 ? "on" : NULL, NULL);

  /* Left alone, each virtual CPU is a socket, and Windows' licences count those: Home has one, the
   * other client editions have two, and do not use the rest. */
  if (domain->windows != NULL)
    {
      g_autofree char *cores = g_strdup_printf ("%u", h2k_domain_vcpus (domain));

      element (cpu, "topology", "sockets", "1", "cores", cores, "threads", "1", NULL);
    }
}

static void
add_clock (xmlNode *root, const H2kDomain *domain, gboolean x86)
{
  gboolean local = domain->windows != NULL && !domain->windows->rtc_utc;
  xmlNode *clock = element (root, "clock", "offset", local ? "localtime" : "utc", NULL);

  if (!x86)
    return;
  /* Linux keeps time by kvm-clock, Windows by Hyper-V's; the HPET costs wakeups, missed ticks are
   * made up for. */
  element (clock, "timer", "name", "rtc", "tickpolicy", "catchup", NULL);
  element (clock, "timer", "name", "pit", "tickpolicy", "delay", NULL);
  element (clock, "timer", "name", "hpet", "present", "no", NULL);
  if (h2k_windows_enlightenment (domain, 0) != NULL)
    element (clock, "timer", "name", "hypervclock", "present", "yes", NULL);
}

static void
add_hyperv (xmlNode *features, const H2kDomain *domain)
{
  const H2kEnlightenment *feature = h2k_windows_enlightenment (domain, 0);
  xmlNode *hyperv = feature == NULL ? NULL : element (features, "hyperv", NULL);

  for (guint i = 0; (feature = h2k_windows_enlightenment (domain, i)) != NULL; i++)
    if (feature->libvirt != NULL && !(domain->emulated && feature->kvm_only))
      element (hyperv, feature->libvirt, "state", "on",
               strcmp (feature->libvirt, "spinlocks") == 0 ? "retries" : NULL, H2K_SPINLOCK_RETRIES,
               NULL);
}

static void
add_hardware (xmlNode *root, const H2kDomain *domain, const H2kArch *arch)
{
  gboolean x86 = strcmp (arch->libvirt, "x86_64") == 0;
  xmlNode *features = element (root, "features", NULL), *pm;

  if (arch->acpi)
    element (features, "acpi", NULL);
  if (x86)
    element (features, "apic", NULL);
  add_hyperv (features, domain);
  /* The guest must not be able to write to the firmware's variables by itself. */
  if (h2k_domain_is_secure (domain))
    element (features, "smm", "state", "on", NULL);
  add_cpu (root, domain, x86);
  add_clock (root, domain, x86);
  text_element (root, "on_poweroff", "destroy");
  text_element (root, "on_reboot", "restart");
  text_element (root, "on_crash", "destroy");
  if (x86)
    {
      /* A guest that suspends itself looks like one that hangs. */
      pm = element (root, "pm", NULL);
      element (pm, "suspend-to-mem", "enabled", "no", NULL);
      element (pm, "suspend-to-disk", "enabled", "no", NULL);
    }
}

/* NODE's device is at PCI, if that is a place. */
static void
add_place (xmlNode *node, H2kPci pci)
{
  g_autofree char *bus = g_strdup_printf ("0x%02x", pci.bus);
  g_autofree char *slot = g_strdup_printf ("0x%02x", pci.slot);
  g_autofree char *function = g_strdup_printf ("0x%x", pci.function);

  if (pci.pinned)
    element (node, "address", "type", "pci", "domain", "0x0000", "bus", bus, "slot", slot,
             "function", function, NULL);
}

static xmlNode *
add_controller (xmlNode *devices, const char *type, guint index, const char *model)
{
  g_autofree char *text = g_strdup_printf ("%u", index);

  return element (devices, "controller", "type", type, "index", text, "model", model, NULL);
}

static void
add_ports (xmlNode *devices, const H2kDomain *domain)
{
  guint n = h2k_place_ports (domain);

  for (guint i = 0; i < n; i++)
    {
      xmlNode *port = add_controller (devices, "pci", i + 1, "pcie-root-port");
      H2kPci pci = h2k_place_port (i);

      add_place (port, pci);
      if (pci.function == 0)
        xmlNewProp (xmlGetLastChild (port), BAD_CAST "multifunction", BAD_CAST "on");
    }
}

static const struct
{
  const char *bus, *prefix;
} buses[] = {
    [H2K_BUS_VIRTIO_BLK] = {"virtio", "vd"},
    [H2K_BUS_VIRTIO_SCSI] = {"scsi", "sd"},
    [H2K_BUS_SATA] = {"sata", "sd"},
    [H2K_BUS_IDE] = {"ide", "hd"},
};

/* libvirt counts SCSI disks by their names, which those on SATA share: the system's disk would be
 * another unit in each phase. */
static void
add_unit (xmlNode *node, guint number)
{
  g_autofree char *unit = g_strdup_printf ("%u", number);

  element (node, "address", "type", "drive", "controller", "0", "bus", "0", "target", "0", "unit",
           unit, NULL);
}

static void
add_sectors (xmlNode *node, const H2kDomainDisk *disk)
{
  g_autofree char *logical = g_strdup_printf ("%u", disk->logical_block);
  g_autofree char *physical = g_strdup_printf ("%u", disk->physical_block);

  if (disk->logical_block != 0 && disk->physical_block != 0)
    element (node, "blockio", "logical_block_size", logical, "physical_block_size", physical, NULL);
}

static void
add_encryption (xmlNode *source, const H2kDomainLuks *luks)
{
  xmlNode *node = element (source, "encryption", "format", "luks", NULL);

  element (node, "secret", "type", "passphrase", "uuid", luks->secret, NULL);
}

/* What DISK builds on, as far as it is encrypted: libvirt finds the rest by itself. */
static void
add_lower (xmlNode *node, const H2kDomainLuks *luks)
{
  for (guint i = 0; i < luks->below->len; i++)
    {
      g_autofree char *path = clean_path (luks->below->pdata[i]);

      node = element (node, "backingStore", "type", "file", NULL);
      element (node, "format", "type", "qcow2", NULL);
      add_encryption (element (node, "source", "file", path, NULL), luks);
    }
}

/* LETTER counts the disks whose names have the same prefix, COUNT those on the same bus. */
static void
add_disk (xmlNode *devices, const H2kDomain *domain, guint i, guint letter, guint count)
{
  const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);
  gboolean device = h2k_domain_disk_is_device (disk);
  g_autofree char *path = clean_path (disk->path);
  g_autofree char *target = h2k_disk_target (buses[disk->bus].prefix, letter);
  g_autofree char *order = g_strdup_printf ("%u", i + 1);
  xmlNode *node
      = element (devices, "disk", "type", device ? "block" : "file", "device", "disk", NULL);
  xmlNode *source;

  /* discard: what the guest trims goes back to the host; the converted file is sparse and stays so.
   * cache is left to the hypervisor ("writeback", which honours the guest's flushes) unless it is
   * known that there is O_DIRECT, which not every filesystem that the disk may be put on has. */
  element (node, "driver", "name", "qemu", "type", disk->format, "discard", "unmap",
           disk->direct ? "cache" : NULL, "none", NULL);
  source = element (node, "source", device ? "dev" : "file", path, NULL);
  if (disk->luks != NULL)
    {
      add_encryption (source, disk->luks);
      add_lower (node, disk->luks);
    }
  add_sectors (node, disk);
  element (node, "target", "dev", target, "bus", buses[disk->bus].bus, NULL);
  element (node, "boot", "order", order, NULL);
  if (disk->bus == H2K_BUS_VIRTIO_BLK)
    add_place (node, h2k_place_disk (domain, disk));
  if (disk->bus == H2K_BUS_VIRTIO_SCSI && domain->windows != NULL)
    add_unit (node, count);
}

static void
add_cdrom (xmlNode *devices, const char *bus, const char *target, const char *iso)
{
  g_autofree char *path = clean_path (iso);
  xmlNode *node = element (devices, "disk", "type", "file", "device", "cdrom", NULL);

  element (node, "driver", "name", "qemu", "type", "raw", NULL);
  element (node, "source", "file", path, NULL);
  element (node, "target", "dev", target, "bus", bus, NULL);
  element (node, "readonly", NULL);
}

/* The bus that disks on BUS share their names with. */
static H2kBus
letters_of (H2kBus bus)
{
  return bus == H2K_BUS_VIRTIO_SCSI ? H2K_BUS_SATA : bus;
}

static void
add_disks (xmlNode *devices, const H2kDomain *domain)
{
  H2kBus cdrom = h2k_domain_is_i440fx (domain) ? H2K_BUS_IDE : H2K_BUS_SATA;
  /* How many there are with each prefix: "vd", "sd", "hd". */
  guint letters[G_N_ELEMENTS (buses)] = {0}, on_bus[G_N_ELEMENTS (buses)] = {0};
  const H2kDomainDisk *scsi = NULL;

  for (guint i = 0; i < domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);

      if (scsi == NULL && disk->bus == H2K_BUS_VIRTIO_SCSI)
        scsi = disk;
      add_disk (devices, domain, i, letters[letters_of (disk->bus)]++, on_bus[disk->bus]++);
    }
  for (guint i = 0; i < domain->cdroms->len; i++)
    {
      g_autofree char *target = h2k_disk_target (buses[cdrom].prefix, letters[cdrom]++);

      add_cdrom (devices, buses[cdrom].bus, target, g_ptr_array_index (domain->cdroms, i));
    }
  if (scsi != NULL)
    add_place (add_controller (devices, "scsi", 0, "virtio-scsi"), h2k_place_disk (domain, scsi));
}

/* Which network is meant by a name is known only where the VM comes from: the reader of the
 * definition has to choose. */
static void
add_origin (xmlNode *devices, const char *network)
{
  g_autofree char *clean = clean_text (network);
  g_autofree char *text = g_strdup_printf (" was connected to \"%s\" ", clean);
  xmlNode *comment;

  for (char *p = text; (p = strstr (p, "--"));) /* XML does not allow it in a comment */
    *p = ' ';
  comment = xmlNewComment (BAD_CAST text);
  xmlAddChild (devices, comment);
}

static const char *const nic_models[] = {
    [H2K_NIC_VIRTIO] = "virtio",
    [H2K_NIC_E1000E] = "e1000e",
    [H2K_NIC_E1000] = "e1000",
    [H2K_NIC_RTL8139] = "rtl8139",
};

static void
add_nic (xmlNode *devices, const H2kDomain *domain, guint i)
{
  const H2kDomainNic *nic = g_ptr_array_index (domain->nics, i);
  xmlNode *node = element (devices, "interface", "type", nic->user ? "user" : "network", NULL);
  g_autofree char *network = clean_text (nic->network != NULL ? nic->network : "default");

  if (nic->was != NULL)
    add_origin (node, nic->was);
  if (nic->mac != NULL)
    element (node, "mac", "address", nic->mac, NULL);
  if (!nic->user)
    element (node, "source", "network", network, NULL);
  element (node, "model", "type", nic_models[nic->model], NULL);
  add_place (node, h2k_place_nic (domain, i));
}

/* USB 2 with its companions for slow devices, as the chipset has it. */
static void
add_ich9_usb (xmlNode *devices)
{
  static const struct
  {
    const char *model, *port;
    guint function;
  } parts[] = {
      {"ich9-ehci1", NULL, 7},
      {"ich9-uhci1", "0", 0},
      {"ich9-uhci2", "2", 1},
      {"ich9-uhci3", "4", 2},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++)
    {
      H2kPci pci = {.pinned = TRUE, .slot = 0x1d, .function = parts[i].function};
      xmlNode *node = add_controller (devices, "usb", 0, parts[i].model);

      if (parts[i].port != NULL)
        element (node, "master", "startport", parts[i].port, NULL);
      add_place (node, pci);
      if (parts[i].port != NULL && pci.function == 0)
        xmlNewProp (xmlGetLastChild (node), BAD_CAST "multifunction", BAD_CAST "on");
    }
}

static void
add_usb (xmlNode *devices, const H2kDomain *domain, const H2kArch *arch)
{
  if (domain->windows == NULL || h2k_windows_has_xhci (domain->windows))
    add_place (add_controller (devices, "usb", 0, "qemu-xhci"),
               h2k_place_device (domain, H2K_PLACE_USB));
  else if (h2k_domain_is_i440fx (domain))
    add_controller (devices, "usb", 0, "piix3-uhci");
  else
    add_ich9_usb (devices);
  element (devices, "input", "type", "tablet", "bus", "usb", NULL);
  if (strcmp (arch->libvirt, "x86_64") != 0)
    element (devices, "input", "type", "keyboard", "bus", "usb", NULL);
}

static void
add_display (xmlNode *devices, const H2kDomain *domain, const H2kArch *arch)
{
  xmlNode *graphics, *video;

  if (strcmp (arch->transport, "ccw") == 0)
    return;
  /* Whoever has an account here may look at 127.0.0.1; nobody else. */
  graphics = element (devices, "graphics", "type", "vnc", "port", "-1", "autoport", "yes", "listen",
                      "127.0.0.1", NULL);
  element (graphics, "listen", "type", "address", "address", "127.0.0.1", NULL);
  video = element (devices, "video", NULL);
  /* Every guest has a driver for VGA; virtio's needs a kernel that came with it, QXL's is worth
   * something with SPICE. Windows on ARM keeps to the picture that the firmware has set up, and
   * virtio's goes when the firmware does. */
  element (video, "model", "type",
           strcmp (arch->libvirt, "x86_64") == 0 ? "vga"
           : domain->windows != NULL             ? "ramfb"
                                                 : "virtio",
           NULL);
  if (arch->root_ports)
    add_usb (devices, domain, arch);
}

static void
add_devices (xmlNode *root, const H2kDomain *domain, const H2kArch *arch)
{
  xmlNode *devices = element (root, "devices", NULL), *node, *backend;

  add_ports (devices, domain);
  add_disks (devices, domain);
  for (guint i = 0; i < domain->nics->len; i++)
    add_nic (devices, domain, i);
  if (strcmp (arch->transport, "ccw") != 0)
    element (element (devices, "serial", "type", "pty", NULL), "target", "port", "0", NULL);
  element (element (devices, "console", "type", "pty", NULL), "target", "type",
           strcmp (arch->transport, "ccw") == 0 ? "sclp" : "serial", "port", "0", NULL);
  if (domain->windows != NULL)
    add_place (add_controller (devices, "virtio-serial", 0, NULL),
               h2k_place_device (domain, H2K_PLACE_SERIAL));
  node = element (devices, "channel", "type", "unix", NULL);
  element (node, "target", "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
  /* Where the VM had one, for Windows 11, too: a system that is installed runs without, and the new
   * TPM is empty in any case. */
  if (domain->tpm)
    {
      const char *model = strcmp (arch->libvirt, "x86_64") == 0 ? "tpm-crb" : "tpm-tis";

      element (element (devices, "tpm", "model", model, NULL), "backend", "type", "emulator",
               "version", "2.0", NULL);
    }
  add_display (devices, domain, arch);
  add_place (element (devices, "memballoon", "model", "virtio", NULL),
             h2k_place_device (domain, H2K_PLACE_BALLOON));
  node = element (devices, "rng", "model", "virtio", NULL);
  backend = text_element (node, "backend", "/dev/urandom");
  xmlNewProp (backend, BAD_CAST "model", BAD_CAST "random");
  add_place (node, h2k_place_device (domain, H2K_PLACE_RNG));
}

gboolean
h2k_domain_is_secure (const H2kDomain *domain)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);

  /* It takes system management mode, which the i440fx has not. */
  return domain->secure_boot && domain->firmware == H2K_FIRMWARE_UEFI
         && !h2k_domain_is_i440fx (domain) && strcmp (arch->libvirt, "x86_64") == 0;
}

char *
h2k_domain_to_xml (const H2kDomain *domain)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);
  xmlDoc *doc = xmlNewDoc (BAD_CAST "1.0");
  xmlNode *root = xmlNewNode (NULL, BAD_CAST "domain");
  xmlChar *buffer = NULL;
  int size = 0;
  char *text;

  xmlDocSetRootElement (doc, root);
  xmlNewProp (root, BAD_CAST "type", BAD_CAST (domain->emulated ? "qemu" : "kvm"));
  add_identity (root, domain);
  number_element (root, "memory", "MiB", domain->memory_mib);
  number_element (root, "vcpu", NULL, h2k_domain_vcpus (domain));
  add_os (root, domain, arch);
  add_hardware (root, domain, arch);
  add_devices (root, domain, arch);
  if (domain->dac_label != NULL)
    text_element (element (root, "seclabel", "type", "static", "model", "dac", "relabel", "no",
                           NULL),
                  "label", domain->dac_label);

  xmlDocDumpFormatMemoryEnc (doc, &buffer, &size, "UTF-8", 1);
  text = g_strndup ((const char *)buffer, (gsize)size);
  xmlFree (buffer);
  xmlFreeDoc (doc);
  return text;
}
