/* xml.c - the libvirt definition of a domain.
 *
 * Follows libvirt's "Domain XML format". Where libvirt leaves a choice, it is made as virt-install
 * makes it for a new Linux guest today, so that an imported VM behaves like one installed here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"

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
}

static void
add_hardware (xmlNode *root, const H2kDomain *domain, const H2kArch *arch)
{
  gboolean x86 = strcmp (arch->libvirt, "x86_64") == 0;
  xmlNode *features = element (root, "features", NULL), *clock, *pm;

  if (arch->acpi)
    element (features, "acpi", NULL);
  if (x86)
    element (features, "apic", NULL);
  /* The guest must not be able to write to the firmware's variables by itself. */
  if (h2k_domain_is_secure (domain))
    element (features, "smm", "state", "on", NULL);
  /* The whole of the host's CPU: the guest comes from other hardware anyway, and it needs no less
   * than it had. migratable leaves out what would bind the running VM to this host. */
  element (root, "cpu", "mode", "host-passthrough", "check", "none", "migratable",
           x86 ? "on" : NULL, NULL);
  clock = element (root, "clock", "offset", "utc", NULL);
  if (x86)
    {
      /* Linux keeps time by kvm-clock; the HPET costs wakeups, missed ticks are made up for. */
      element (clock, "timer", "name", "rtc", "tickpolicy", "catchup", NULL);
      element (clock, "timer", "name", "pit", "tickpolicy", "delay", NULL);
      element (clock, "timer", "name", "hpet", "present", "no", NULL);
    }
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

static const struct
{
  const char *bus, *prefix;
} buses[] = {
    [H2K_BUS_VIRTIO_BLK] = {"virtio", "vd"},
    [H2K_BUS_VIRTIO_SCSI] = {"scsi", "sd"},
    [H2K_BUS_SATA] = {"sata", "sd"},
    [H2K_BUS_IDE] = {"ide", "hd"},
};

/* LETTER counts the disks whose names have the same prefix. */
static void
add_disk (xmlNode *devices, guint i, guint letter, const H2kDomainDisk *disk)
{
  gboolean device = h2k_domain_disk_is_device (disk);
  g_autofree char *path = clean_path (disk->path);
  g_autofree char *target = h2k_disk_target (buses[disk->bus].prefix, letter);
  g_autofree char *order = g_strdup_printf ("%u", i + 1);
  xmlNode *node
      = element (devices, "disk", "type", device ? "block" : "file", "device", "disk", NULL);

  /* discard: what the guest trims goes back to the host; the converted file is sparse and stays so.
   * cache is left to the hypervisor ("writeback", which honours the guest's flushes): "none" needs
   * O_DIRECT, which not every filesystem that the disk may be put on has. */
  element (node, "driver", "name", "qemu", "type", disk->format, "discard", "unmap", NULL);
  element (node, "source", device ? "dev" : "file", path, NULL);
  element (node, "target", "dev", target, "bus", buses[disk->bus].bus, NULL);
  element (node, "boot", "order", order, NULL);
}

static void
add_disks (xmlNode *devices, const H2kDomain *domain)
{
  guint vd = 0, sd = 0, hd = 0;
  gboolean scsi = FALSE;

  for (guint i = 0; i < domain->disks->len; i++)
    {
      const H2kDomainDisk *disk = g_ptr_array_index (domain->disks, i);

      scsi |= disk->bus == H2K_BUS_VIRTIO_SCSI;
      add_disk (devices, i,
                disk->bus == H2K_BUS_VIRTIO_BLK ? vd++
                : disk->bus == H2K_BUS_IDE      ? hd++
                                                : sd++,
                disk);
    }
  if (scsi)
    element (devices, "controller", "type", "scsi", "index", "0", "model", "virtio-scsi", NULL);
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

static void
add_nic (xmlNode *devices, const H2kDomainNic *nic)
{
  xmlNode *node = element (devices, "interface", "type", "network", NULL);
  g_autofree char *network = clean_text (nic->network != NULL ? nic->network : "default");

  if (nic->was != NULL)
    add_origin (node, nic->was);
  if (nic->mac != NULL)
    element (node, "mac", "address", nic->mac, NULL);
  element (node, "source", "network", network, NULL);
  element (node, "model", "type", "virtio", NULL);
}

static void
add_display (xmlNode *devices, const H2kArch *arch)
{
  xmlNode *graphics, *video;

  if (strcmp (arch->transport, "ccw") == 0)
    return;
  /* Whoever has an account here may look at 127.0.0.1; nobody else. */
  graphics = element (devices, "graphics", "type", "vnc", "port", "-1", "autoport", "yes", "listen",
                      "127.0.0.1", NULL);
  element (graphics, "listen", "type", "address", "address", "127.0.0.1", NULL);
  video = element (devices, "video", NULL);
  /* Every guest has a driver for VGA; virtio's needs a kernel that came with it. */
  element (video, "model", "type", strcmp (arch->libvirt, "x86_64") == 0 ? "vga" : "virtio", NULL);
  if (arch->root_ports)
    {
      element (devices, "controller", "type", "usb", "index", "0", "model", "qemu-xhci", NULL);
      element (devices, "input", "type", "tablet", "bus", "usb", NULL);
      if (strcmp (arch->libvirt, "x86_64") != 0)
        element (devices, "input", "type", "keyboard", "bus", "usb", NULL);
    }
}

static void
add_devices (xmlNode *root, const H2kDomain *domain, const H2kArch *arch)
{
  xmlNode *devices = element (root, "devices", NULL), *node, *backend;

  add_disks (devices, domain);
  for (guint i = 0; i < domain->nics->len; i++)
    add_nic (devices, g_ptr_array_index (domain->nics, i));
  if (strcmp (arch->transport, "ccw") != 0)
    element (element (devices, "serial", "type", "pty", NULL), "target", "port", "0", NULL);
  element (element (devices, "console", "type", "pty", NULL), "target", "type",
           strcmp (arch->transport, "ccw") == 0 ? "sclp" : "serial", "port", "0", NULL);
  node = element (devices, "channel", "type", "unix", NULL);
  element (node, "target", "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
  if (domain->tpm)
    {
      const char *model = strcmp (arch->libvirt, "x86_64") == 0 ? "tpm-crb" : "tpm-tis";

      element (element (devices, "tpm", "model", model, NULL), "backend", "type", "emulator",
               "version", "2.0", NULL);
    }
  add_display (devices, arch);
  element (devices, "memballoon", "model", "virtio", NULL);
  node = element (devices, "rng", "model", "virtio", NULL);
  backend = text_element (node, "backend", "/dev/urandom");
  xmlNewProp (backend, BAD_CAST "model", BAD_CAST "random");
}

gboolean
h2k_domain_is_secure (const H2kDomain *domain)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);

  return domain->secure_boot && domain->firmware == H2K_FIRMWARE_UEFI
         && strcmp (arch->libvirt, "x86_64") == 0;
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
  xmlNewProp (root, BAD_CAST "type", BAD_CAST "kvm");
  add_identity (root, domain);
  number_element (root, "memory", "MiB", domain->memory_mib);
  number_element (root, "vcpu", NULL, domain->vcpus);
  add_os (root, domain, arch);
  add_hardware (root, domain, arch);
  add_devices (root, domain, arch);

  xmlDocDumpFormatMemoryEnc (doc, &buffer, &size, "UTF-8", 1);
  text = g_strndup ((const char *)buffer, (gsize)size);
  xmlFree (buffer);
  xmlFreeDoc (doc);
  return text;
}
