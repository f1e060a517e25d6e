/* json.c - a domain as JSON, and back: what a machine was defined as, to be started again later.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/domain.h"
#include "util/json.h"

static const char *const bus_words[] = {[H2K_BUS_VIRTIO_BLK] = "virtio-blk",
                                        [H2K_BUS_VIRTIO_SCSI] = "virtio-scsi",
                                        [H2K_BUS_SATA] = "sata",
                                        [H2K_BUS_IDE] = "ide"};
static const char *const nic_words[] = {[H2K_NIC_VIRTIO] = "virtio",
                                        [H2K_NIC_E1000E] = "e1000e",
                                        [H2K_NIC_E1000] = "e1000",
                                        [H2K_NIC_RTL8139] = "rtl8139"};

/* --- to JSON ---------------------------------------------------------------------------------- */

static void
set_text (JsonObject *o, const char *key, const char *text)
{
  if (text != NULL)
    json_object_set_string_member (o, key, text);
}

static JsonObject *
disk_to_json (const H2kDomainDisk *disk)
{
  JsonObject *o = json_object_new ();

  set_text (o, "path", disk->path);
  set_text (o, "format", disk->format);
  set_text (o, "bus", bus_words[disk->bus]);
  json_object_set_int_member (o, "place", disk->place);
  json_object_set_int_member (o, "logical-block", disk->logical_block);
  json_object_set_int_member (o, "physical-block", disk->physical_block);
  json_object_set_boolean_member (o, "direct", disk->direct);
  return o;
}

static JsonObject *
nic_to_json (const H2kDomainNic *nic)
{
  JsonObject *o = json_object_new ();

  set_text (o, "mac", nic->mac);
  set_text (o, "network", nic->network);
  set_text (o, "model", nic_words[nic->model]);
  return o;
}

static JsonObject *
windows_to_json (const H2kDomainWindows *windows)
{
  JsonObject *o = json_object_new ();

  json_object_set_int_member (o, "major", windows->major);
  json_object_set_int_member (o, "minor", windows->minor);
  json_object_set_int_member (o, "build", windows->build);
  json_object_set_boolean_member (o, "server", windows->server);
  json_object_set_boolean_member (o, "rtc-utc", windows->rtc_utc);
  return o;
}

JsonObject *
h2k_domain_to_json (const H2kDomain *domain)
{
  JsonObject *o = json_object_new ();
  JsonArray *disks = json_array_new (), *nics = json_array_new ();

  set_text (o, "name", domain->name);
  set_text (o, "uuid", domain->uuid);
  set_text (o, "osinfo-id", domain->osinfo_id);
  set_text (o, "arch", domain->arch);
  set_text (o, "firmware", h2k_firmware_name (domain->firmware));
  set_text (o, "nvram", domain->nvram);
  json_object_set_boolean_member (o, "secure-boot", domain->secure_boot);
  json_object_set_boolean_member (o, "tpm", domain->tpm);
  json_object_set_boolean_member (o, "i440fx", domain->i440fx);
  json_object_set_int_member (o, "memory-mib", domain->memory_mib);
  json_object_set_int_member (o, "vcpus", domain->vcpus);
  if (domain->windows != NULL)
    json_object_set_object_member (o, "windows", windows_to_json (domain->windows));
  for (guint i = 0; i < domain->disks->len; i++)
    json_array_add_object_element (disks, disk_to_json (domain->disks->pdata[i]));
  for (guint i = 0; i < domain->nics->len; i++)
    json_array_add_object_element (nics, nic_to_json (domain->nics->pdata[i]));
  json_object_set_array_member (o, "disks", disks);
  json_object_set_array_member (o, "nics", nics);
  return o;
}

/* --- and back: whatever is missing or of another type is as in a new domain ---------------------
 */

static guint
number_of (JsonObject *o, const char *key)
{
  return (guint)CLAMP (h2k_json_int (o, key, 0), 0, G_MAXINT);
}

static guint
word_of (JsonObject *o, const char *key, const char *const *words, guint n)
{
  const char *text = h2k_json_string (o, key);

  for (guint i = 0; i < n && text != NULL; i++)
    if (g_str_equal (words[i], text))
      return i;
  return 0;
}

/* Element I of the array KEY, or NULL behind its end. */
static JsonObject *
element_of (JsonObject *o, const char *key, guint i)
{
  JsonNode *node = json_object_get_member (o, key);
  JsonArray *array
      = node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  JsonNode *element = array != NULL && i < json_array_get_length (array)
                          ? json_array_get_element (array, i)
                          : NULL;

  return element != NULL && JSON_NODE_HOLDS_OBJECT (element) ? json_node_get_object (element)
                                                             : NULL;
}

static void
take_devices (H2kDomain *domain, JsonObject *o)
{
  JsonObject *e;

  for (guint i = 0; (e = element_of (o, "disks", i)) != NULL; i++)
    {
      const char *path = h2k_json_string (e, "path"), *format = h2k_json_string (e, "format");
      H2kDomainDisk *disk;

      if (path == NULL || format == NULL)
        continue;
      h2k_domain_add_disk (domain, path, format,
                           word_of (e, "bus", bus_words, G_N_ELEMENTS (bus_words)));
      disk = g_ptr_array_index (domain->disks, domain->disks->len - 1);
      disk->place = number_of (e, "place");
      disk->logical_block = number_of (e, "logical-block");
      disk->physical_block = number_of (e, "physical-block");
      disk->direct = h2k_json_flag (e, "direct");
    }
  for (guint i = 0; (e = element_of (o, "nics", i)) != NULL; i++)
    {
      h2k_domain_add_nic (domain, h2k_json_string (e, "mac"), h2k_json_string (e, "network"));
      ((H2kDomainNic *)g_ptr_array_index (domain->nics, i))->model
          = word_of (e, "model", nic_words, G_N_ELEMENTS (nic_words));
    }
}

H2kDomain *
h2k_domain_from_json (JsonObject *o)
{
  const char *name = h2k_json_string (o, "name"), *arch = h2k_json_string (o, "arch");
  H2kDomain *domain = h2k_domain_new (name != NULL ? name : "vm");
  JsonNode *node = json_object_get_member (o, "windows");

  if (arch != NULL)
    {
      g_free (domain->arch);
      domain->arch = g_strdup (arch);
    }
  if (node != NULL && JSON_NODE_HOLDS_OBJECT (node))
    {
      JsonObject *w = json_node_get_object (node);
      H2kDomainWindows windows = {.major = number_of (w, "major"),
                                  .minor = number_of (w, "minor"),
                                  .build = number_of (w, "build"),
                                  .server = h2k_json_flag (w, "server"),
                                  .rtc_utc = h2k_json_flag (w, "rtc-utc")};
      h2k_domain_set_windows (domain, &windows);
    }
  g_free (domain->osinfo_id);
  domain->osinfo_id = g_strdup (h2k_json_string (o, "osinfo-id"));
  domain->uuid = g_strdup (h2k_json_string (o, "uuid"));
  domain->nvram = g_strdup (h2k_json_string (o, "nvram"));
  domain->firmware
      = g_strcmp0 (h2k_json_string (o, "firmware"), h2k_firmware_name (H2K_FIRMWARE_UEFI)) == 0
            ? H2K_FIRMWARE_UEFI
            : H2K_FIRMWARE_BIOS;
  domain->secure_boot = h2k_json_flag (o, "secure-boot");
  domain->tpm = h2k_json_flag (o, "tpm");
  domain->i440fx = h2k_json_flag (o, "i440fx");
  if (number_of (o, "memory-mib") > 0)
    domain->memory_mib = number_of (o, "memory-mib");
  if (number_of (o, "vcpus") > 0)
    domain->vcpus = number_of (o, "vcpus");
  take_devices (domain, o);
  return domain;
}
