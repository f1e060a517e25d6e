/* windows.c - what Windows wants of its machine, by release.
 *
 * Which hardware a release has drivers for is what osinfo-db says of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"

/* Versions as one number, so that they can be compared. */
#define VERSION(major, minor) ((major) << 8 | (minor))

static guint
version_of (const H2kDomainWindows *windows)
{
  return VERSION (windows->major, windows->minor);
}

void
h2k_domain_set_windows (H2kDomain *domain, const H2kDomainWindows *windows)
{
  gboolean x86 = strcmp (h2k_arch_get (domain->arch)->libvirt, "x86_64") == 0;

  g_free (domain->windows);
  domain->windows = g_memdup2 (windows, sizeof *windows);
  g_free (domain->osinfo_id);
  domain->osinfo_id = h2k_domain_windows_osinfo_id (windows->major, windows->minor, windows->build,
                                                    windows->server);
  /* osinfo-db has the q35 from Windows 7 and Server 2008 R2 on. */
  domain->i440fx = x86 && version_of (windows) < VERSION (6, 1);
}

H2kNicModel
h2k_domain_windows_nic (const H2kDomainWindows *windows)
{
  return version_of (windows) < VERSION (6, 1) ? H2K_NIC_E1000 : H2K_NIC_E1000E;
}

guint
h2k_domain_max_vcpus (const H2kDomain *domain)
{
  guint version = domain->windows == NULL ? 0 : version_of (domain->windows);

  if (version == 0)
    return 0;
  /* One bit of a processor mask for each, which has the width of a register. Windows 7 and Server
   * 2008 R2 brought groups of processors: four of them. */
  if (strcmp (domain->arch, "i686") == 0)
    return 32;
  return version < VERSION (6, 1) ? 64 : version == VERSION (6, 1) ? 256 : 0;
}
