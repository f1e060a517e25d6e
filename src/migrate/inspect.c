/* inspect.c - a look into a VM's disks that changes nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

char *
h2k_inspect (GPtrArray *paths, const char *format, GPtrArray *keys, H2kBackend backend,
             gboolean json, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  g_autoptr (H2kKeys) parsed = h2k_keys_parse (keys, error);
  H2kGuestOptions options = {.keys = parsed, .backend = backend, .kvm_works = h2k_kvm_works};
  g_autoptr (H2kGuest) guest = NULL;

  if (!parsed)
    return NULL;
  for (guint i = 0; i < paths->len; i++)
    {
      H2kDisk *disk = h2k_disk_open (paths->pdata[i], format, error);
      if (!disk)
        return NULL;
      g_ptr_array_add (disks, disk);
    }
  guest = h2k_guest_open (disks, &options, error);
  if (!guest)
    return NULL;
  return json ? h2k_guest_to_json (guest) : h2k_guest_to_text (guest);
}
