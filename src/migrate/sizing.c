/* sizing.c - how large a VM on this host should be for a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/sizing.h"

guint64
h2k_host_memory_mib (void)
{
  g_autofree char *text = NULL;
  const char *line;

  if (!g_file_get_contents ("/proc/meminfo", &text, NULL, NULL))
    return 0;
  line = strstr (text, "MemTotal:");
  return line ? g_ascii_strtoull (line + strlen ("MemTotal:"), NULL, 10) / 1024 : 0;
}

char *
h2k_guest_osinfo_id (const H2kGuest *guest)
{
  const H2kWindowsRelease *version = guest->windows ? &guest->windows->version : NULL;

  return version ? h2k_domain_windows_osinfo_id (version->major, version->minor, version->build,
                                                 version->product != H2K_WINDOWS_CLIENT)
                 : h2k_domain_osinfo_id (guest->distro, guest->version);
}

/* What products need, which libosinfo does not know; of others what is usual for their kind. */
static void
product_needs (const char *product, gboolean is_windows, H2kResources *needs)
{
  if (product && g_str_equal (product, "proxmox-ve"))
    *needs = (H2kResources){2048, 4096, 1, 2, g_strdup ("Proxmox VE's requirements")};
  else if (product)
    *needs = (H2kResources){2048, 4096, 1, 2, g_strdup ("a server product on Debian")};
  else if (is_windows && !needs->source)
    *needs = (H2kResources){2048, 4096, 1, 2, g_strdup ("usual for Windows")};
}

void
h2k_size_guest (const H2kGuest *guest, const char *product, gboolean is_windows, guint64 host_mib,
                guint host_cpus, H2kSizing *sizing)
{
  g_autofree char *id = guest ? h2k_guest_osinfo_id (guest) : NULL;
  g_auto (H2kResources) needs = {0};

  if (!product)
    h2k_resources_of_os (NULL, id, guest ? guest->arch : "x86_64", &needs);
  product_needs (product, is_windows || (guest && guest->windows), &needs);
  h2k_sizing_choose (&needs, host_mib, host_cpus,
                     guest && guest->windows ? guest->windows->max_vcpus : 0, sizing);
}
