/* boot-test.c - the public boot test: finds out what VM the disks are, boots it, tells as JSON.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/boot.h"

#include <json-glib/json-glib.h>

static const char *const verdict_words[] = {
    [H2K_VERDICT_PASS] = "pass",
    [H2K_VERDICT_FAILURE] = "failure",
    [H2K_VERDICT_STOPPED] = "stopped",
    [H2K_VERDICT_TIMEOUT] = "timeout",
};

H2kBootOptions *
h2k_boot_options_new (void)
{
  H2kBootOptions *options = g_new0 (H2kBootOptions, 1);

  options->disks = g_ptr_array_new_with_free_func (g_free);
  options->macs = g_ptr_array_new_with_free_func (g_free);
  options->keys = g_ptr_array_new_with_free_func (g_free);
  options->bus = H2K_BUS_VIRTIO_BLK;
  options->evidence = H2K_EVIDENCE_AUTO;
  options->memory_mib = 2048;
  options->vcpus = 2;
  options->headless = TRUE;
  return options;
}

void
h2k_boot_options_free (H2kBootOptions *options)
{
  if (options == NULL)
    return;
  g_ptr_array_unref (options->disks);
  g_ptr_array_unref (options->macs);
  g_ptr_array_unref (options->keys);
  g_free (options->format);
  g_free (options->accel);
  g_free (options->temp_dir);
  g_free (options->screen);
  g_free (options);
}

/* What the disks' guest says about the machine it wants. Not every disk can be looked into; the
 * boot itself is the test, so that is no error here. */
static void
apply_inspection (H2kDomain *domain, GPtrArray *disks, GPtrArray *key_specs)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kKeys) keys = h2k_keys_parse (key_specs, &error);
  H2kGuestOptions options = {.keys = keys, .backend = H2K_BACKEND_NATIVE};
  g_autoptr (H2kGuest) guest = keys ? h2k_guest_open (disks, &options, &error) : NULL;

  if (guest == NULL)
    {
      g_info ("boot: the disk could not be looked into: %s", error->message);
      return;
    }
  domain->firmware = guest->firmware;
  if (strcmp (guest->arch, "unknown") != 0)
    {
      g_free (domain->arch);
      domain->arch = g_strdup (guest->arch);
    }
  if (guest->windows)
    h2k_domain_take_windows (domain, guest->windows);
}

static gboolean
add_macs (H2kDomain *domain, GPtrArray *macs, GError **error)
{
  for (guint i = 0; i < macs->len; i++)
    {
      const char *text = g_ptr_array_index (macs, i);
      g_autofree char *mac = h2k_mac_parse (text);

      if (mac == NULL)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "\"%s\" is no MAC of a NIC", text);
          return FALSE;
        }
      h2k_domain_add_nic (domain, mac, NULL);
    }
  if (macs->len == 0)
    h2k_domain_add_nic (domain, NULL, NULL);
  return TRUE;
}

static H2kDomain *
domain_from_options (const H2kBootOptions *options, GError **error)
{
  g_autoptr (H2kDomain) domain = h2k_domain_new ("hyper2kvm-boot-test");
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  domain->memory_mib = options->memory_mib;
  domain->vcpus = options->vcpus;
  for (guint i = 0; i < options->disks->len; i++)
    {
      const char *path = g_ptr_array_index (options->disks, i);
      H2kDisk *disk = h2k_disk_open (path, options->format, error);

      if (disk == NULL)
        return NULL;
      g_ptr_array_add (disks, disk);
      if (disk->files->len == 0 || g_str_has_prefix (disk->format, "qemu:"))
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                       "%s: the boot test takes only files of this host, in a format that "
                       "hyper2kvm reads itself; convert it first",
                       disk->name);
          return NULL;
        }
      h2k_domain_add_disk (domain, path, disk->format, options->bus);
    }
  if (!add_macs (domain, options->macs, error))
    return NULL;
  apply_inspection (domain, disks, options->keys);
  if (options->uefi)
    domain->firmware = H2K_FIRMWARE_UEFI;
  return g_steal_pointer (&domain);
}

static void
set_text (JsonObject *object, const char *name, const char *text)
{
  if (text != NULL)
    json_object_set_string_member (object, name, text);
  else
    json_object_set_null_member (object, name);
}

JsonObject *
h2k_boot_result_to_json (const H2kBootResult *result)
{
  JsonObject *object = json_object_new ();

  set_text (object, "verdict", verdict_words[result->verdict]);
  set_text (object, "accel", result->accel);
  set_text (object, "accel_why", result->accel_why);
  set_text (object, "evidence", result->evidence);
  set_text (object, "network", result->network);
  json_object_set_double_member (object, "seconds", result->seconds);
  json_object_set_int_member (object, "reboots", result->reboots);
  set_text (object, "console", result->console);
  set_text (object, "screen", result->screen);
  return object;
}

static char *
result_to_text (const H2kBootResult *result)
{
  g_autoptr (JsonObject) object = h2k_boot_result_to_json (result);
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), object);

  return json_to_string (node, TRUE);
}

gboolean
h2k_boot_test (const H2kBootOptions *options, GCancellable *cancellable, char **evidence,
               GError **error)
{
  g_autoptr (H2kDomain) domain = NULL;
  g_autoptr (H2kBootResult) result = NULL;
  gboolean ok;

  g_return_val_if_fail (options != NULL && options->disks->len > 0, FALSE);
  if (evidence != NULL)
    *evidence = NULL;
  domain = domain_from_options (options, error);
  if (domain == NULL)
    return FALSE;
  ok = h2k_boot_domain (domain, options, cancellable, &result, error);
  if (evidence != NULL && result != NULL)
    *evidence = result_to_text (result);
  return ok;
}
